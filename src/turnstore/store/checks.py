"""Checks of values that several aggregates take."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, Final, TypeVar

from turnstore.errors import InvalidArgument
from turnstore.records import (
    Role,
    SessionStatus,
    ToolCallStatus,
)
from turnstore.sql import codec
from turnstore.sql.compiled import Value
from turnstore.values import is_a, shown

E = TypeVar("E", bound=StrEnum)

Expected = StrEnum | str | Collection[StrEnum | str] | None
"""A status, or several."""


def statuses(given: Any, kind: type[StrEnum]) -> frozenset[str] | None:
    if given is None:
        return None
    name = "expected_status"
    several = codec.check_texts([given] if is_a(given, str) else given, name)
    return frozenset(member(each, kind, name, readable=True) for each in several)


def member(
    given: object, kind: type[StrEnum], name: str, *, readable: bool = False
) -> str:
    """Return the text of an enumeration; unknown where it is only looked for."""
    known = _KNOWN[kind]
    text = str.__str__(given) if is_a(given, str) else ""
    if text in known and (readable or text != "unknown"):
        return text
    names = [each for each in known if readable or each != "unknown"]
    raise InvalidArgument(
        f"{name} must be one of {', '.join(names)}, got {shown(given)}"
    )


def as_read(text: str, kind: type[E]) -> E:
    """Return the member that a stored text reads as."""
    return kind(text if text in _KNOWN[kind] else "unknown")


def free_text(value: object, name: str, bytes_max: int) -> str | None:
    if value is None:
        return None
    return codec.encode(codec.check_free_text(value, name), bytes_max)


def text_bytes(values: Mapping[str, Value]) -> int:
    return sum(len(each) for each in values.values() if isinstance(each, str))


_KNOWN: Final[dict[type[StrEnum], list[str]]] = {
    kind: [str(each) for each in kind] for kind in (Role, SessionStatus, ToolCallStatus)
}
