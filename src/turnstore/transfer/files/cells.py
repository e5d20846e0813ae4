"""Values of another system's database, and what becomes of them.

A cell is what SQLite holds: None, int, float, text, bytes, or ``BadText`` for text
that is no UTF-8. ``pack`` makes JSON of a cell and ``unpack`` the same cell of it. The
other functions turn a cell into what a column of the store takes, or None where it has
no place there; and back.
"""

from __future__ import annotations

import hashlib
import json
import sys
from datetime import UTC, datetime
from typing import Final, TypeAlias

import msgspec

from turnstore.errors import PayloadInvalid
from turnstore.records import Json
from turnstore.sql import codec


class BadText(msgspec.Struct, frozen=True):
    """Text that is no UTF-8."""

    data: bytes


class PendingId(msgspec.Struct, frozen=True):
    """An id of this store where the other system has an integer: one is given when
    the row is written."""

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
    """Return text as SQLite's driver gives it."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return BadText(data)


def pack(cell: Cell) -> Json:
    """Return a cell as JSON: itself where JSON has it, else an object of one key."""
    if isinstance(cell, bytes):
        return {"blob": cell}
    if isinstance(cell, BadText):
        return {"text": cell.data}
    if isinstance(cell, float):
        # As text, because a decoder may make an integer of 5.0.
        return {"real": repr(cell)}
    return cell


def unpack(value: Json) -> Cell:
    """Return the cell that ``pack`` was given."""
    if not isinstance(value, dict):
        return value  # type: ignore[no-any-return]
    [(kind, inside)] = value.items()
    if kind == "real":
        return float(inside)
    data: bytes = msgspec.convert(inside, bytes)
    return data if kind == "blob" else BadText(data)


def same(first: OutCell, second: OutCell) -> bool:
    """Tell whether cells are equal in value and storage type."""
    if type(first) is not type(second):
        return False
    if isinstance(first, float):
        return repr(first) == repr(second)
    return first == second


# From the other system to the store


def name(cell: Cell) -> str | None:
    """Return text for a column of names: without NUL."""
    return cell if isinstance(cell, str) and "\x00" not in cell else None


def identifier(cell: Cell) -> str | None:
    """Return text that is a valid id here."""
    if isinstance(cell, str) and 0 < len(cell) <= codec.ID_CHARS_MAX:
        return name(cell)
    return None


def quoted(cell: Cell, bytes_max: int) -> str | None:
    """Return text as encoded JSON, for a column of free text."""
    if not isinstance(cell, str):
        return None
    encoded = msgspec.json.encode(cell)
    return encoded.decode() if len(encoded) <= bytes_max else None


def json_text(cell: Cell, bytes_max: int) -> str | None:
    """Return text that is JSON, as it is, for a column of encoded JSON."""
    if not isinstance(cell, str) or len(cell) > bytes_max:
        return None
    try:
        value = _decode(cell)
        is_doubtful = cell.count("[") + cell.count("{") > codec.DEPTH_MAX
    except msgspec.ValidationError:
        # A number of many digits. Python's reader takes more than JSON has.
        try:
            value, is_doubtful = json.loads(cell), True
        except (ValueError, RecursionError):
            return None
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return None
    if is_doubtful:
        try:
            codec.encode(value, sys.maxsize)
        except PayloadInvalid:
            return None
    return cell


def to_micros(cell: Cell, unit: int) -> int | None:
    """Return a count of ``unit`` (in microseconds) since 1970 as microseconds."""
    if not isinstance(cell, int):
        return None
    since = cell * unit
    return since if MICROS_MIN <= since <= MICROS_MAX else None


def micros_of_text(cell: Cell) -> int | None:
    """Return a time in RFC 3339, or ``YYYY-MM-DD HH:MM:SS`` in UTC, as microseconds."""
    if not isinstance(cell, str) or not 19 <= len(cell) <= 40:
        return None
    try:
        from_micros = datetime.fromisoformat(cell)
    except ValueError:
        return None
    if from_micros.tzinfo is None:
        from_micros = from_micros.replace(tzinfo=UTC)
    try:
        return codec.to_micros(from_micros, "time")
    except (ValueError, OverflowError):
        return None


def integer(cell: Cell) -> int | None:
    return cell if isinstance(cell, int) else None


# From the store to the other system


def unquoted(encoded: str | None) -> str | None:
    """Return the text that encoded JSON holds; of another value its JSON."""
    if encoded is None:
        return None
    value = codec.decode(encoded) if encoded.startswith('"') else None
    return value if isinstance(value, str) else encoded


def own_id(id: str) -> OutCell:
    """Return an id where the other system has integers: the integer that it spells,
    else one that is given when the row is written."""
    if id.isdecimal() and id.isascii() and str(int(id)) == id:
        number = int(id)
        if number <= codec.INTEGER_MAX:
            return number
    return PendingId(id)


def own_id_or_none(id: str | None) -> OutCell:
    return None if id is None else own_id(id)


def count_of(to_micros: int | None, unit: int) -> int | None:
    """Return microseconds as a whole count of ``unit``."""
    return None if to_micros is None else to_micros // unit


def sqlite_time(to_micros: int) -> str:
    """Return microseconds as ``YYYY-MM-DD HH:MM:SS``, the form SQLite writes."""
    return codec.from_micros(to_micros).strftime("%Y-%m-%d %H:%M:%S")


def rfc3339(to_micros: int) -> str:
    """Return microseconds as RFC 3339 with ``+00:00``."""
    return codec.from_micros(to_micros).isoformat()


def encoded(value: Json) -> str:
    """Return a value as encoded JSON; for what is known to be valid."""
    return msgspec.json.encode(value).decode()


def derived_id(system: str, cell: Cell) -> str:
    """Return an id for a session whose own is none here: empty, too long, no text."""
    digest = hashlib.sha256(msgspec.json.encode(pack(cell))).hexdigest()
    return f"{system}-{digest[:32]}"
