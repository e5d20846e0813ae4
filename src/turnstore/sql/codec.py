"""JSON, times and ids; every limit on a value is enforced here.

``encode`` proves what the store promises of a payload: it decodes what it encoded and
compares. That finds in one pass of C code what encoders change without a word: NaN
and Infinity (written as null), keys that are not strings (written as strings), bytes,
dates and other objects (written as text).

A lone surrogate, half of a character that was cut, has no UTF-8. In a payload it is
kept as a JSON escape, ``\\ud83d``, which is ASCII for every database. Two surrogates
that make a pair become the character that they stand for.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from turnstore.errors import (
    DatabaseCorrupt,
    InvalidArgument,
    PayloadInvalid,
    PayloadTooLarge,
    StoreError,
)
from turnstore.records import Json
from turnstore.values import is_a, shown, type_name

ID_CHARS_MAX: Final = 255
DEPTH_MAX: Final = 200
INTEGER_MAX: Final = 2**63 - 1
DAY_US: Final = 86_400 * 1_000_000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
MICROS_MIN: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
MICROS_MAX: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


def encode(value: Json, bytes_max: int) -> str:
    """Return ``value`` as JSON text that decodes to an equal value.

    Subclasses of str, int, float, list and dict count as their base.

    :raises PayloadInvalid: NaN, Infinity, a key that is no string, a type JSON has not,
        more than 200 levels, an integer of more than 4,300 digits.
    :raises PayloadTooLarge: more than ``bytes_max`` bytes.
    """
    try:
        return _encode_equal(value, bytes_max)
    except (StoreError, MemoryError):
        raise
    except Exception as error:
        # The encoder's, which takes no subclasses, or what comparing with one raised.
        fault = _error_of(value)
        if fault is not None:
            raise PayloadInvalid(f"not JSON: {fault}") from error
    try:
        return _encode_equal(_plain(value), bytes_max)
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        if isinstance(error, StoreError):
            raise
        raise PayloadInvalid(f"not JSON: {error}") from error


def _encode_equal(value: Json, bytes_max: int) -> str:
    encoded = to_json(value)
    if len(encoded) > bytes_max:
        raise PayloadTooLarge(len(encoded), bytes_max)
    try:
        same = bool(_decode(encoded) == value)
    except msgspec.DecodeError:
        # A lone surrogate, or a long integer: perhaps too long, where the program
        # raised the limit.
        same = False
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


def to_json(value: object) -> bytes:
    """Return ``value`` as JSON without a proof that it decodes to an equal value.

    Lone surrogates are written as escapes.
    """
    try:
        return _encode(value)
    except UnicodeEncodeError:
        text = json.dumps(
            msgspec.to_builtins(value), ensure_ascii=False, separators=(",", ":")
        )
        return _SURROGATE.sub(_escaped, paired(text)).encode()


def paired(text: str) -> str:
    """Return text in which each pair of surrogates is one character."""
    units = text.encode("utf-16-le", "surrogatepass")
    return units.decode("utf-16-le", "surrogatepass")


def without_surrogates(text: str) -> str:
    """Return text with U+FFFD in place of each lone surrogate."""
    return _SURROGATE.sub("\ufffd", paired(text))


def is_key(text: str) -> bool:
    """Tell whether a text may be stored as an id or a key."""
    return "\x00" not in text and (text.isascii() or not _SURROGATE.search(text))


def _escaped(surrogate: re.Match[str]) -> str:
    return f"\\u{ord(surrogate[0]):04x}"


def encode_or_none(value: Json, bytes_max: int) -> str | None:
    """``encode``, with None kept apart as the absence of a value."""
    return None if value is None else encode(value, bytes_max)


def check_string(value: object, name: str) -> str:
    """Return text that may hold NUL and lone surrogates, as payloads may.

    As plain text, like every check here: what encodes refuses other subclasses of str
    and int than enumerations.
    """
    if type(value) is str:
        return value
    if not is_a(value, str):
        raise InvalidArgument(f"{name} must be text, got {type_name(value)}")
    return str.__str__(value)


def check_free_text(value: object, name: str) -> str:
    """Return text that may hold NUL but no lone surrogate."""
    text = check_string(value, name)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        text = paired(text)
        if _SURROGATE.search(text):
            raise InvalidArgument(f"{name} must not contain a lone surrogate") from None
    return text


def _plain(value: Json) -> Json:
    """Return JSON with subclasses as their base."""
    if is_a(value, str):
        return str.__str__(value)
    if is_a(value, dict):
        found = {str.__str__(name): _plain(item) for name, item in dict.items(value)}
        if len(found) < dict.__len__(value):
            raise PayloadInvalid("not JSON: two keys of an object are the same text")
        return found
    if is_a(value, (list, tuple)):
        return [_plain(item) for item in _items(value)]
    if is_a(value, float):
        return float.__float__(value)
    return value if value is None or type(value) is bool else int.__int__(value)


def _items(value: list[Json] | tuple[Json, ...]) -> Iterable[Json]:
    """Iterate over a list or tuple, whatever its subclass does."""
    return list.__iter__(value) if is_a(value, list) else tuple.__iter__(value)  # type: ignore[arg-type]


def _error_of(value: Json) -> str | None:
    """Say why a value is no JSON, or None where it is."""
    digits_max = sys.get_int_max_str_digits() or sys.maxsize
    integer_max: int = 10 ** min(digits_max, 4_300)
    item: Any
    levels: list[Iterator[tuple[str, Any]]] = [iter((("$", value),))]
    while levels:
        path, item = next(levels[-1], ("", levels))
        if item is levels:
            levels.pop()
            continue
        kind = type(item)
        if item is None or kind is bool:
            continue
        if is_a(item, str):
            continue
        if is_a(item, int):
            if abs(int.__int__(item)) >= integer_max:
                return f"{path} has more than 4300 digits"
        elif is_a(item, float):
            item = float.__float__(item)
            if item != item or item in (float("inf"), float("-inf")):
                return f"{path} is {item}"
        elif is_a(item, dict):
            entries = list(dict.items(item))
            if not all(is_a(key, str) for key, _ in entries):
                [key, *_] = [key for key, _ in entries if not is_a(key, str)]
                return f"{path} has a key of type {type_name(key)}"
            entries = [(str.__str__(key), entry) for key, entry in entries]
            if len({paired(key) for key, _ in entries}) < len(entries):
                return f"{path} has two keys that are the same text"
            if len(levels) > DEPTH_MAX:
                return f"more than {DEPTH_MAX} levels"
            levels.append(
                iter([(f"{path}.{key}"[:80], entry) for key, entry in entries])
            )
        elif is_a(item, (list, tuple)):
            if len(levels) > DEPTH_MAX:
                return f"more than {DEPTH_MAX} levels"
            levels.append(
                iter(
                    [
                        (f"{path}[{at}]"[:80], entry)
                        for at, entry in enumerate(_items(item))
                    ]
                )
            )
        else:
            return f"{path} is of type {type_name(item)}"
    return None


def check_text(value: object, name: str) -> str:
    """Return a name or key: text without NUL or lone surrogates."""
    text = check_free_text(value, name)
    if "\x00" in text:
        raise InvalidArgument(f"{name} must not contain NUL")
    return text


def check_texts(values: object, name: str) -> list[str]:
    """Return several names or keys."""
    return [check_text(each, name) for each in check_several(values, name)]


def check_several(values: Any, name: str) -> list[Any]:
    """Return what an iterable gives. Text counts as one value."""
    if is_a(values, (str, bytes)):
        raise InvalidArgument(f"{name} must be several: give a list")
    try:
        return list(values)
    except Exception as error:
        raise InvalidArgument(f"{name} must be several: give a list") from error


def check_mapping(value: Any, name: str) -> list[tuple[Any, Any]]:
    """Return the pairs of a mapping."""
    if not is_a(value, Mapping):
        raise InvalidArgument(f"{name} must be a mapping, got {type_name(value)}")
    try:
        return [(key, item) for key, item in value.items()]
    except Exception as error:
        raise InvalidArgument(f"{name} must be a mapping that can be read") from error


def check_flag(value: object, name: str) -> bool:
    if type(value) is not bool:
        raise InvalidArgument(f"{name} must be True or False, got {shown(value)}")
    return value


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
    if type(value) is not int:
        if type(value) is bool or not is_a(value, int):
            raise InvalidArgument(f"{name} must be an integer, got {shown(value)}")
        value = int.__int__(value)  # type: ignore[arg-type]
    if not low <= value <= high:
        raise InvalidArgument(f"{name} must be {low} to {high}, got {shown(value)}")
    return value


def check_number(value: Any, name: str, low: float, high: float) -> float:
    if type(value) is bool or not is_a(value, (int, float)):
        raise InvalidArgument(f"{name} must be a number, got {shown(value)}")
    base = int.__int__ if is_a(value, int) else float.__float__
    number: float = base(value)
    if not low <= number <= high:
        raise InvalidArgument(f"{name} must be {low} to {high}, got {shown(value)}")
    return number


def check_seconds(value: object, name: str, low: float, high: float) -> int:
    """Return seconds as microseconds."""
    return int(check_number(value, name, low, high) * 1_000_000)


def to_micros(value: object, name: str) -> int:
    """Return a timezone-aware datetime as microseconds since 1970 UTC."""
    if not is_a(value, datetime):
        raise InvalidArgument(f"{name} must be a datetime, got {type_name(value)}")
    assert isinstance(value, datetime)
    try:
        offset = value.utcoffset()
        since = 0 if offset is None else (value - _EPOCH) // _MICROSECOND
    except Exception as error:
        raise InvalidArgument(f"{name} has no place in UTC by its tzinfo") from error
    if offset is None:
        raise InvalidArgument(
            f"{name} must be timezone-aware: give it tzinfo, for example datetime.UTC"
        )
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
    except msgspec.DecodeError as error:
        # It refuses lone surrogates, and counts the sign among the 4,300 digits that
        # Python reads of an integer.
        try:
            return json.loads(text)
        except ValueError:
            raise error from None


def fold(title: str) -> str:
    """Return a title as it is searched: ASCII letters lowered, without NUL."""
    return title.translate(_FOLD)


_FOLD: Final = {
    **{ord(upper): ord(upper) + 32 for upper in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
    0: 0xFFFD,
}
