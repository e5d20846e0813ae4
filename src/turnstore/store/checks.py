"""Checks of values that several aggregates take."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Final

from turnstore.errors import InvalidArgument
from turnstore.records import (
    Role,
    SessionStatus,
    ToolCallStatus,
)
from turnstore.sql import codec
from turnstore.sql.compiled import Value

Expected = StrEnum | str | Collection[StrEnum | str] | None
"""A status, or several."""


def statuses(given: Expected, kind: type[StrEnum]) -> frozenset[str] | None:
    if given is None:
        return None
    name = "expected_status"
    several = codec.check_texts([given] if isinstance(given, str) else given, name)
    return frozenset(member(each, kind, name, readable=True) for each in several)


def member(
    given: object, kind: type[StrEnum], name: str, *, readable: bool = False
) -> str:
    """Return the text of an enumeration; unknown where it is only looked for."""
    known = _KNOWN[kind]
    if given in known and (readable or given != "unknown"):
        return known[known.index(given)]  # what it is equal to may be written apart
    shown = [each for each in known if readable or each != "unknown"]
    raise InvalidArgument(f"{name} must be one of {', '.join(shown)}, got {given!r}")


def free_text(value: object, name: str, bytes_max: int) -> str | None:
    if value is None:
        return None
    return codec.encode(codec.check_free_text(value, name), bytes_max)


def text_bytes(values: Mapping[str, Value]) -> int:
    return sum(len(each) for each in values.values() if isinstance(each, str))


_KNOWN: Final[dict[type[StrEnum], list[str]]] = {
    kind: [str(each) for each in kind] for kind in (Role, SessionStatus, ToolCallStatus)
}
