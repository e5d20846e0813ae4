"""The values of another system's database, and their conversion to the store's.

A cell is what SQLite holds: None, int, float, text, bytes, or ``BadText`` for text
that is not UTF-8. ``pack`` turns a cell into JSON, and ``unpack`` turns that back into
the same cell. Other functions turn a cell into what a column of the store takes, or
into None if the column can't hold it; and back.
"""

from __future__ import annotations

import hashlib
import json
import sys
from datetime import UTC, datetime
from typing import Final, TypeAlias

import msgspec

from turnstore.errors import InvalidArgument, PayloadInvalid
from turnstore.records import Json
from turnstore.sql import codec


class BadText(msgspec.Struct, frozen=True):
    """Text that is not UTF-8."""

    data: bytes


class PendingId(msgspec.Struct, frozen=True):
    """An id of the store for which the other system needs an integer. The row gets one
    when it is written."""

    id: str


Cell: TypeAlias = None | int | float | str | bytes | BadText
OutCell: TypeAlias = Cell | PendingId
Row: TypeAlias = dict[str, Cell]

MICROS_MIN: Final = -62_135_596_800_000_000
MICROS_MAX: Final = 253_402_300_799_999_999
SECOND: Final = 1_000_000
MILLISECOND: Final = 1_000

_decode: Final = msgspec.json.Decoder().decode


def text_of(data: bytes) -> str | BadText:
    """Decode a text of SQLite; for the driver's ``text_factory``."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return BadText(data)


def pack(cell: Cell) -> Json:
    """Return a cell as JSON: the cell itself, or an object of one key.

    For example ``{"blob": "AAE="}`` for bytes, ``{"real": "5.0"}`` for a float.
    """
    if isinstance(cell, bytes):
        return {"blob": cell}
    if isinstance(cell, BadText):
        return {"text": cell.data}
    if isinstance(cell, float):
        # As text, because a decoder may turn 5.0 into an integer.
        return {"real": repr(cell)}
    return cell


def unpack(value: Json) -> Cell:
    """Return the cell that a value of ``pack`` stands for."""
    if not isinstance(value, dict):
        return value  # type: ignore[no-any-return]
    [(kind, inside)] = value.items()
    if kind == "real":
        return float(inside)
    data: bytes = msgspec.convert(inside, bytes)
    return data if kind == "blob" else BadText(data)


def same(first: OutCell, second: OutCell) -> bool:
    """Whether two cells are equal in value and storage type."""
    if type(first) is not type(second):
        return False
    if isinstance(first, float):
        return repr(first) == repr(second)
    return first == second


# From the other system to the store


def name(cell: Cell) -> str | None:
    """Return a text that a column of names can hold: no NUL, no lone surrogate."""
    try:
        return codec.check_text(cell, "name")
    except InvalidArgument:
        return None


def identifier(cell: Cell) -> str | None:
    """Return a text that is a valid id in the store."""
    if isinstance(cell, str) and 0 < len(cell) <= codec.ID_CHARS_MAX:
        return name(cell)
    return None


def quoted(cell: Cell, bytes_max: int) -> str | None:
    """Return a text as encoded JSON, for a column of free text."""
    if not isinstance(cell, str):
        return None
    encoded = codec.to_json(cell)
    return encoded.decode() if len(encoded) <= bytes_max else None


def json_text(cell: Cell, bytes_max: int) -> str | None:
    """Return a text that is JSON unchanged, for a column of encoded JSON."""
    if not isinstance(cell, str) or len(cell) > bytes_max:
        return None
    try:
        value = _decode(cell)
        is_doubtful = cell.count("[") + cell.count("{") > codec.DEPTH_MAX
    except msgspec.DecodeError:
        # Perhaps a number of many digits, or a lone surrogate. Python's own decoder
        # takes more than JSON allows.
        try:
            value, is_doubtful = json.loads(cell), True
        except (ValueError, RecursionError):
            return None
    except (UnicodeEncodeError, RecursionError):
        return None
    if is_doubtful:
        try:
            codec.encode(value, sys.maxsize)
        except PayloadInvalid:
            return None
    return cell


def to_micros(cell: Cell, unit: int) -> int | None:
    """Return a count of units since 1970 as microseconds.

    :param unit: the length of a unit in microseconds.
    """
    if not isinstance(cell, int):
        return None
    since = cell * unit
    return since if MICROS_MIN <= since <= MICROS_MAX else None


def micros_of_text(cell: Cell) -> int | None:
    """Return a time of RFC 3339, or ``YYYY-MM-DD HH:MM:SS`` of UTC, as microseconds."""
    if not isinstance(cell, str) or not 19 <= len(cell) <= 40:
        return None
    try:
        time = datetime.fromisoformat(cell)
    except ValueError:
        return None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    try:
        return codec.to_micros(time, "time")
    except (ValueError, OverflowError):
        return None


def integer(cell: Cell) -> int | None:
    return cell if isinstance(cell, int) else None


# From the store to the other system


def unquoted(encoded: str | None) -> str | None:
    """Return the text that encoded JSON stands for, or the JSON of another value."""
    if encoded is None:
        return None
    value = codec.decode(encoded) if encoded.startswith('"') else None
    return value if isinstance(value, str) else encoded


def own_id(id: str) -> OutCell:
    """Return an id for a system whose ids are integers: the integer that it spells, or
    a ``PendingId``."""
    if id.isdecimal() and id.isascii() and str(int(id)) == id:
        number = int(id)
        if number <= codec.INTEGER_MAX:
            return number
    return PendingId(id)


def own_id_or_none(id: str | None) -> OutCell:
    return None if id is None else own_id(id)


def count_of(micros: int | None, unit: int) -> int | None:
    """Return microseconds as a count of whole units."""
    return None if micros is None else micros // unit


def sqlite_time(micros: int) -> str:
    """Return microseconds as ``YYYY-MM-DD HH:MM:SS``, as SQLite writes a time."""
    return codec.from_micros(micros).strftime("%Y-%m-%d %H:%M:%S")


def rfc3339(micros: int) -> str:
    """Return microseconds as RFC 3339 with ``+00:00``."""
    return codec.from_micros(micros).isoformat()


def rfc3339_or_none(micros: int | None) -> str | None:
    return None if micros is None else rfc3339(micros)


def encoded(value: Json) -> str:
    """Return a value that is known to be valid as encoded JSON."""
    return codec.to_json(value).decode()


def derived_id(system: str, cell: Cell) -> str:
    """Return an id for a session whose own id is not valid in the store."""
    digest = hashlib.sha256(codec.to_json(pack(cell))).hexdigest()
    return f"{system}-{digest[:32]}"
