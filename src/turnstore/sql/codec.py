"""JSON, times and ids; every limit on a value is enforced here.

``encode`` proves what the store promises of a payload: it decodes what it encoded and
compares. That finds in one pass of C code what encoders change without a word: NaN
and Infinity (written as null), keys that are not strings (written as strings), bytes,
dates and other objects (written as text).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from turnstore.errors import (
    DatabaseCorrupt,
    InvalidArgument,
    PayloadInvalid,
    PayloadTooLarge,
)
from turnstore.records import Json

ID_CHARS_MAX: Final = 255
DEPTH_MAX: Final = 200
INTEGER_MAX: Final = 2**63 - 1
DAY_US: Final = 86_400 * 1_000_000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
MICROS_MIN: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
MICROS_MAX: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


def encode(value: Json, bytes_max: int) -> str:
    """Return ``value`` as JSON text that decodes to an equal value.

    :raises PayloadInvalid: NaN, Infinity, a lone surrogate, a key that is no string, a
        type JSON has not, more than 200 levels, an integer of more than 4,300 digits.
    :raises PayloadTooLarge: more than ``bytes_max`` bytes.
    """
    try:
        encoded = _encode(value)
        if len(encoded) > bytes_max:
            raise PayloadTooLarge(len(encoded), bytes_max)
        try:
            same = _decode(encoded) == value
        except msgspec.ValidationError:
            # A long integer: perhaps too long, where the program raised the limit.
            same = False
    except (
        TypeError,
        ValueError,
        OverflowError,
        RecursionError,
        msgspec.MsgspecError,
    ) as error:
        if isinstance(error, PayloadTooLarge):
            raise
        raise PayloadInvalid(f"not JSON: {_error_of(value) or error}") from error
    # Tuples count as lists but don't compare equal to them. Brackets are an upper
    # bound of the depth; only a payload with many needs a closer look.
    if not same or (
        len(encoded) > 2 * DEPTH_MAX
        and encoded.count(b"[") + encoded.count(b"{") > DEPTH_MAX
    ):
        fault = _error_of(value)
        if fault is not None:
            raise PayloadInvalid(f"not JSON: {fault}")
    return encoded.decode()


def encode_or_none(value: Json, bytes_max: int) -> str | None:
    """``encode``, with None kept apart as the absence of a value."""
    return None if value is None else encode(value, bytes_max)


def check_free_text(value: object, name: str) -> str:
    """Return text that may hold NUL; whether it can be encoded, ``encode`` finds.

    As plain text, like every check here: what encodes refuses other subclasses of str
    and int than enumerations.
    """
    if type(value) is str:
        return value
    if not isinstance(value, str):
        raise InvalidArgument(f"{name} must be text, got {type(value).__name__}")
    return str.__str__(value)


def _error_of(value: Json) -> str | None:
    """Say why a value is no JSON, or None where it is."""
    digits_max = sys.get_int_max_str_digits() or sys.maxsize
    integer_max: int = 10 ** min(digits_max, 4_300)
    levels = [iter((("$", value),))]
    while levels:
        path, item = next(levels[-1], ("", levels))
        if item is levels:
            levels.pop()
            continue
        kind = type(item)
        if item is None or kind is bool:
            continue
        if isinstance(item, str):
            if any("\ud800" <= char <= "\udfff" for char in item):
                return f"{path} has a lone surrogate"
        elif isinstance(item, int):
            if abs(item) >= integer_max:
                return f"{path} has more than 4300 digits"
        elif isinstance(item, float):
            if item != item or item in (float("inf"), float("-inf")):
                return f"{path} is {item}"
        elif isinstance(item, dict):
            for key in item:
                if not isinstance(key, str):
                    return f"{path} has a key of type {type(key).__name__}"
                if any("\ud800" <= char <= "\udfff" for char in key):
                    return f"{path} has a key with a lone surrogate"
            if len(levels) > DEPTH_MAX:
                return f"more than {DEPTH_MAX} levels"
            levels.append(iter([(f"{path}.{key}"[:80], item[key]) for key in item]))
        elif isinstance(item, list | tuple):
            if len(levels) > DEPTH_MAX:
                return f"more than {DEPTH_MAX} levels"
            levels.append(
                iter([(f"{path}[{at}]"[:80], entry) for at, entry in enumerate(item)])
            )
        else:
            return f"{path} is of type {kind.__name__}"
    return None


def check_text(value: object, name: str) -> str:
    """Return a name or key: text without NUL or lone surrogates."""
    text = check_free_text(value, name)
    if "\x00" in text:
        raise InvalidArgument(f"{name} must not contain NUL")
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise InvalidArgument(f"{name} must not contain a lone surrogate")
    return text


def check_texts(values: object, name: str) -> list[str]:
    """Return several names or keys."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidArgument(f"{name} must be several: give a list of texts")
    return [check_text(each, name) for each in values]


def check_text_or_none(value: object, name: str) -> str | None:
    return None if value is None else check_text(value, name)


def check_id(value: object, name: str) -> str:
    """Return an id: text of 1 to 255 characters, without NUL."""
    if (  # the common case, at a third of the time
        type(value) is str
        and 0 < len(value) <= ID_CHARS_MAX
        and value.isascii()
        and "\x00" not in value
    ):
        return value
    text = check_text(value, name)
    if not 1 <= len(text) <= ID_CHARS_MAX:
        raise InvalidArgument(
            f"{name} must have 1 to {ID_CHARS_MAX} characters, has {len(text)}"
        )
    return text


def check_integer(value: object, name: str, low: int, high: int = INTEGER_MAX) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgument(f"{name} must be an integer, got {value!r}")
    number = value if type(value) is int else int.__int__(value)
    if not low <= number <= high:
        raise InvalidArgument(f"{name} must be {low} to {high}, got {number}")
    return number


def to_micros(value: object, name: str) -> int:
    """Return a timezone-aware datetime as microseconds since 1970 UTC."""
    if not isinstance(value, datetime):
        raise InvalidArgument(f"{name} must be a datetime, got {type(value).__name__}")
    if value.tzinfo is None or value.utcoffset() is None:
        raise InvalidArgument(
            f"{name} must be timezone-aware: give it tzinfo, for example datetime.UTC"
        )
    since = (value - _EPOCH) // _MICROSECOND
    if not MICROS_MIN <= since <= MICROS_MAX:
        raise InvalidArgument(f"{name} must lie in the years 1 to 9999 of UTC")
    return since


def to_micros_or_none(value: object, name: str) -> int | None:
    return None if value is None else to_micros(value, name)


def is_time(micros: int) -> bool:
    """Tell whether microseconds since 1970 lie in the years 1 to 9999."""
    return MICROS_MIN <= micros <= MICROS_MAX


def from_micros(micros: int) -> datetime:
    """Return microseconds since 1970 as a UTC datetime.

    :raises DatabaseCorrupt: a stored value that is no time.
    """
    try:
        return _EPOCH + timedelta(microseconds=micros)
    except (OverflowError, TypeError) as error:
        raise DatabaseCorrupt(
            f"{micros!r} is no time of the years 1 to 9999", table=""
        ) from error


def from_micros_or_none(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


def now_micros() -> int:
    """Microseconds since 1970 UTC, by the wall clock. Nothing is ordered by it."""
    return time.time_ns() // 1_000


def new_id() -> str:
    """Return a UUID version 7 (RFC 9562): time-ordered to the millisecond.

    The 12 bits after the milliseconds hold their fraction (RFC 9562, 6.2, method 3),
    so ids made by one process within a millisecond mostly sort as they were made.
    """
    milliseconds, rest_ns = divmod(time.time_ns(), 1_000_000)
    fraction = rest_ns * 4096 // 1_000_000
    tail = int.from_bytes(os.urandom(8)) & 0x3FFF_FFFF_FFFF_FFFF
    value = (milliseconds << 80) | (0x7 << 76) | (fraction << 64) | (0x2 << 62) | tail
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def array(values: Iterable[str | int]) -> str:
    """Return values as a JSON array, for an array parameter."""
    return _encode(list(values)).decode()


def pairs(values: Iterable[tuple[int, str | int]]) -> str:
    """Return pairs as a JSON array of arrays, for an array parameter."""
    return _encode(list(values)).decode()


def decode(text: str | bytes | None) -> Json:
    """Return the value of encoded JSON; None stays None."""
    if text is None:
        return None
    try:
        return _decode(text)
    except msgspec.ValidationError:
        # It counts the sign among the 4,300 digits that Python reads of an integer.
        return json.loads(text)


def fold(title: str) -> str:
    """Return a title as it is searched: ASCII letters lowered, without NUL."""
    return title.translate(_FOLD)


_FOLD: Final = {
    **{ord(upper): ord(upper) + 32 for upper in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
    0: 0xFFFD,
}
