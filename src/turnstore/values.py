"""Looking at values that callers give, whatever they are.

Nothing here runs code of the value's class: not its ``repr``, its comparison or its
``__class__``, any of which may raise.
"""

from __future__ import annotations

from typing import Any, Final

CHARS_MAX: Final = 80
BITS_MAX: Final = 256
"""Of integers that are shown: 77 digits, which Python always writes out."""

_name_of: Final = type.__dict__["__name__"].__get__


def is_a(value: object, kinds: type | tuple[type, ...]) -> bool:
    """``isinstance``, by the type alone."""
    return issubclass(type(value), kinds)


def type_name(value: object) -> str:
    """Return the name of a value's type for the text of an error."""
    return str(_name_of(type(value)))[:CHARS_MAX]


def shown(value: Any) -> str:
    """Return a value for the text of an error: short, on one line, without a failure.

    Text, numbers, booleans and None as Python writes them; of anything else its type.
    """
    if value is None or type(value) is bool:
        return repr(value)
    if is_a(value, str):
        text = str.__str__(value)
        if len(text) <= CHARS_MAX:
            return repr(text)
        return f"{text[:CHARS_MAX]!r}... ({len(text)} characters)"
    if is_a(value, int):
        number = int.__int__(value)
        if number.bit_length() <= BITS_MAX:
            return str(number)
        return f"an integer of {number.bit_length()} bits"
    if is_a(value, float):
        return float.__repr__(value)
    return f"a value of type {type_name(value)}"
