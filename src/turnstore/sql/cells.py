"""What a stored value must be, column by column, and what is wrong with one.

Values become wrong by a flipped bit, or by another program that writes the tables:
SQLite takes any value in any column. A column says what it holds by its type, and one
of encoded JSON by ``info["holds"]``.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from sqlalchemy import BigInteger, Column, Integer

from turnstore.sql import codec
from turnstore.sql.column_types import JsonText, Micros

REASON_CHARS_MAX: Final = 200


def storage_class(column: Column[Any]) -> str:
    """Return SQLite's storage class of a column's values."""
    is_number = isinstance(column.type, BigInteger | Integer | Micros)
    return "integer" if is_number else "text"


def problem(column: Column[Any], storage: str, raw: bytes | str | None) -> str | None:
    """Say what is wrong with a value; None where it is sound.

    :param storage: its storage class; empty where it is that of the column.
    :param raw: its bytes, or the text that they are.
    """
    if storage == "null" or raw is None:
        return None if column.nullable else "is NULL"
    expected = storage_class(column)
    if (storage or expected) != expected:
        return f"is stored as {storage}, not as {expected}"
    if expected == "integer":
        if isinstance(column.type, Micros) and not codec.is_time(int(raw)):
            return f"is no time of the years 1 to 9999: {int(raw)}"
        return None
    try:
        text = raw if isinstance(raw, str) else raw.decode()
    except UnicodeDecodeError as error:
        return f"is not UTF-8 (byte {error.start})"
    if isinstance(column.type, JsonText):
        return _json_problem(column, text)
    return None


def _json_problem(column: Column[Any], text: str) -> str | None:
    try:
        value = codec.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return f"is not JSON ({str(error)[:REASON_CHARS_MAX]})"
    try:
        msgspec.convert(value, column.info.get("holds", Any))
    except msgspec.ValidationError as error:
        return f"is not what it must be ({str(error)[:REASON_CHARS_MAX]})"
    return None
