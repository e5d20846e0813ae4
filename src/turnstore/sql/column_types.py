"""Types of columns that databases lack.

``JsonText`` columns hold JSON exactly as it was encoded (a binary JSON type reorders
keys, rewrites numbers and refuses ``\\u0000``); free text is held the same way, so
that any text is stored alike on every database. ``Micros`` columns hold microseconds
since 1970 UTC.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Text, TypeDecorator


class JsonText(TypeDecorator[str]):
    """Encoded JSON. Values are bound and read as they are."""

    impl = Text
    cache_ok = True


class Micros(TypeDecorator[int]):
    """Microseconds since 1970 UTC."""

    impl = BigInteger
    cache_ok = True


def json_column(name: str, holds: Any = Any, *, nullable: bool = True) -> Column[str]:
    """Return a column of encoded JSON.

    :param holds: the type of its values, as msgspec decodes them.
    """
    return Column(name, JsonText, nullable=nullable, info={"holds": holds})
