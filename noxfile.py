"""One session for each question: ``nox -l`` lists them."""

from __future__ import annotations

import re
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.default_venv_backend = "venv"
PROJECT = nox.project.load_toml("pyproject.toml")


def lowest() -> list[str]:
    """The oldest release of each dependency that pyproject.toml allows."""
    project = PROJECT["project"]
    extras = project["optional-dependencies"].values()
    ranges = [*project["dependencies"], *(each for extra in extras for each in extra)]
    return [re.sub(r">=([0-9.]+)[^;]*", r"==\1", each) for each in ranges]


def install(session: nox.Session, *groups: str) -> None:
    """Install this checkout with some of its dependency groups."""
    session.install("-e", ".", *nox.project.dependency_groups(PROJECT, *groups))


@nox.session
def lint(session: nox.Session) -> None:
    """Is the form right, and does every module import only from below it?"""
    install(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Do the types hold, in tests and benchmarks too?"""
    install(session, "types", "test", "bench")
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """Does it do what it says? Takes pytest's arguments."""
    install(session, "test")
    session.run("pytest", *session.posargs)


@nox.session(python=nox.project.python_versions(PROJECT))
@nox.parametrize(
    "pins",
    [
        nox.param(lowest(), id="lowest"),
        nox.param(["sqlalchemy==2.0.*"], id="sqlalchemy-2.0"),
        nox.param([], id="newest"),
    ],
)
def versions(session: nox.Session, pins: list[str]) -> None:
    """Does the contract hold with old and new dependencies, on each Python?

    A Python that is not installed is skipped, and reported so.
    """
    groups = nox.project.dependency_groups(PROJECT, "test")
    session.install("-e", ".", *groups, *pins)
    session.run("pytest", *(session.posargs or ["tests/unit", "tests/contract"]))


@nox.session
def migrations(session: nox.Session) -> None:
    """Does an upgrade from nothing give the schema, on every path to it?"""
    install(session, "test")
    session.run("pytest", "tests/migrations", *session.posargs)


@nox.session
def postgres(session: nox.Session) -> None:
    """Does all of it hold on PostgreSQL, and the contract on each way to a store?
    Starts servers."""
    install(session, "test")
    folders = ("tests/postgres", "tests/contract")
    session.run("pytest", *folders, "-m", "", *session.posargs)


@nox.session
def crash(session: nox.Session) -> None:
    """Is every acknowledged write there after a kill, a power cut, a failed call?"""
    install(session, "test")
    session.run("pytest", "tests/crash", "--crash-rounds=100", *session.posargs)


@nox.session
def proofs(session: nox.Session) -> None:
    """The long forms of docs/proofs.md: about an hour on two cores."""
    install(session, "test")
    long = ("-n0", "-rA", "--crash-rounds=100", "--soak-s=300")
    for each in (
        "tests/crash",
        "tests/load",
        "tests/properties/test_histories.py",
        "tests/load/test_every_cancellation.py",
    ):
        session.run("pytest", each, *long, *session.posargs)
    session.run("pytest", "-m", "long", *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """Does the wheel work by itself, in an empty environment, elsewhere?"""
    session.install("build")
    folder = session.create_tmp()
    session.run("python", "-m", "build", "--outdir", folder, ".", silent=True)
    built = max(Path(folder).glob("*.whl"), key=lambda path: path.stat().st_mtime)
    session.install("--force-reinstall", f"{built}[cli]", "mypy")
    script = Path("tests/support/programs/wheel_program.py").resolve()
    with session.chdir(folder):
        session.run("python", "-W", "error", str(script))
        # Fails where the installed package does not say that it is typed.
        session.run("mypy", "--config-file=", "--strict", str(script))
        session.run("turnstore", "sample", silent=True)


@nox.session
def bench(session: nox.Session) -> None:
    """Do the benchmarks run? A smoke run; ``python -m bench`` measures."""
    install(session, "bench")
    session.run(
        "pytest", "bench", "-n0", "--benchmark-disable", "-q", "-p", "benchmark"
    )
    picture = str(Path(session.create_tmp()) / "append.png")
    session.run("python", "-m", "bench", "--quick", "--plot", picture)
