"""Values that no argument is meant to be, each made anew."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final


def _fail(*_: Any, **__: Any) -> Any:
    raise RuntimeError("a hostile value")


class Hostile:
    """Raises in whatever Python asks it."""

    __repr__ = __str__ = __eq__ = __hash__ = __len__ = __bool__ = __iter__ = _fail
    __int__ = __float__ = __index__ = __lt__ = __le__ = __gt__ = __ge__ = _fail
    __getitem__ = __contains__ = __fspath__ = __getattr__ = __format__ = _fail
    __class__ = property(_fail)


class HostileText(str):
    __repr__ = __str__ = __eq__ = __hash__ = __len__ = __iter__ = _fail
    __contains__ = __getitem__ = __format__ = encode = isascii = _fail


class HostileInteger(int):
    __repr__ = __str__ = __eq__ = __hash__ = __bool__ = __abs__ = _fail
    __int__ = __index__ = __lt__ = __le__ = __gt__ = __ge__ = _fail


class HostileFloat(float):
    __repr__ = __str__ = __eq__ = __hash__ = __bool__ = _fail
    __float__ = __int__ = __lt__ = __le__ = __gt__ = __ge__ = _fail


class HostileList(list[Any]):
    __repr__ = __str__ = __eq__ = __len__ = __iter__ = __bool__ = _fail


class HostileDict(dict[Any, Any]):
    __repr__ = __str__ = __eq__ = __len__ = __iter__ = __bool__ = _fail
    keys = items = values = get = __getitem__ = __contains__ = _fail


class HostileMapping(Mapping[Any, Any]):
    __getitem__ = __iter__ = __len__ = __bool__ = __repr__ = _fail


class HostileZone(tzinfo):
    def utcoffset(self, _: datetime | None) -> timedelta | None:
        raise RuntimeError("a hostile zone")

    dst = utcoffset
    tzname = _fail


def deep(make: Callable[[Any], Any], levels: int = 100_000) -> Any:
    value: Any = None
    for _ in range(levels):
        value = make(value)
    return value


def generator() -> Iterator[Any]:
    yield "s"
    yield object()


def failing_generator() -> Iterator[Any]:
    yield "s"
    raise RuntimeError("a hostile generator")


_DEEP: Final = deep(lambda inner: [inner])
_DEEP_DICT: Final = deep(lambda inner: {"a": inner})
_HUGE: Final = 10**4_400

JUNK: Final[dict[str, Callable[[], Any]]] = {
    "hostile": Hostile,
    "hostile text": lambda: HostileText("s"),
    "hostile integer": lambda: HostileInteger(0),
    "hostile float": lambda: HostileFloat(0.0),
    "hostile list": lambda: HostileList(["s"]),
    "hostile dict": lambda: HostileDict(s="s"),
    "hostile mapping": HostileMapping,
    "hostile in a list": lambda: [Hostile()],
    "hostile text in a list": lambda: [HostileText("s")],
    "hostile in a dict": lambda: {"s": Hostile()},
    "hostile keys": lambda: {Key(): 0},
    "hostile time": lambda: datetime(2026, 1, 1, tzinfo=HostileZone()),
    "naive time": lambda: datetime(2026, 1, 1),
    "huge integer": lambda: _HUGE,
    "huge negative": lambda: -_HUGE,
    "huge in a list": lambda: [_HUGE],
    "huge in a dict": lambda: {"s": _HUGE},
    "beyond 64 bits": lambda: 2**63,
    "negative": lambda: -1,
    "boolean": lambda: True,
    "float": lambda: 0.5,
    "NaN": lambda: math.nan,
    "infinity": lambda: math.inf,
    "deep list": lambda: _DEEP,
    "deep dict": lambda: _DEEP_DICT,
    "cycle": lambda: cycle(),  # noqa: PLW0108 - defined below
    "empty text": lambda: "",
    "NUL": lambda: "a\x00b",
    "lone surrogate": lambda: "a\ud800",
    "surrogate key": lambda: {"\udfff": "\udfff"},
    "long text": lambda: "x" * 5_000,
    "bytes": lambda: b"s",
    "no UTF-8": lambda: b"\xf9",
    "bytearray": lambda: bytearray(b"s"),
    "class": lambda: Hostile,
    "enum class": lambda: type("Kind", (), {"__name__": _HUGE}),
    "object": object,
    "function": lambda: _fail,
    "generator": generator,
    "failing generator": failing_generator,
    "none in a list": lambda: [None],
    "set": lambda: {"s"},
    "complex": lambda: 1j,
}


class Key:
    """Can be a key, and nothing more."""

    __repr__ = __str__ = __eq__ = _fail

    def __hash__(self) -> int:
        return 1


def cycle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value
