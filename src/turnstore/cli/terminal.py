"""Running a command, failing with one line, and printing text safely."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn, TypeVar

import anyio
import click
from click.exceptions import Exit
from rich.console import Console

from turnstore.errors import StoreError
from turnstore.sql import codec

T = TypeVar("T")

INTERRUPTED: Final = 130
"""The exit code of a command that the user interrupted."""

# Control characters except tab and line feed, and those that change the direction of
# text: with them a text can rewrite other parts of the screen.
_CONTROLS: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def plain(text: str) -> str:
    """Return text without terminal control characters and lone surrogates."""
    return _CONTROLS.sub("", text)


def console(*, stderr: bool = False) -> Console:
    """Return a console that prints text unchanged, without markup or emoji codes."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def run(work: Callable[[], Awaitable[T]]) -> T:
    """Run a command's work. An error of the store ends it with one line and code 2."""
    try:
        return anyio.run(work)
    except StoreError as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise Exit(INTERRUPTED) from None


def fail(reason: str) -> NoReturn:
    """End the command with one line and code 2."""
    one_line = " ".join(plain(reason).split())
    click.echo(f"turnstore: {one_line}", err=True)
    raise Exit(2)


def print_json(value: Any) -> None:
    """Print a value as one line of JSON, in UTF-8 whatever the terminal's encoding."""
    click.echo(codec.to_json(value))


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
