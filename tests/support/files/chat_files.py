"""Files in the chat format: one conversation a line."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from turnstore import SessionStore
from turnstore.transfer import ImportReport, import_file

SAMPLE = Path(str(resources.files("turnstore").joinpath("sample.jsonl")))


def conversation(*messages: Any, **rest: Any) -> dict[str, Any]:
    return {"id": "one", **rest, "messages": list(messages)}


def write(path: Path, *objects: Any) -> Path:
    """Write lines: text as it is, anything else as JSON."""
    lines = [each if isinstance(each, str) else json.dumps(each) for each in objects]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


async def imported(store: SessionStore, path: Path, *objects: Any) -> ImportReport:
    return await import_file(store, write(path, *objects), "chat")
