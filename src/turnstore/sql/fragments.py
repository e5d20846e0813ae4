"""Long JSON, decoded in fragments, so that other threads get their turns.

A decoder holds the GIL until it returns: 16 MiB of small objects take half a second,
in which an event loop on another thread stands still. So a long text is cut at commas,
at whatever depth, and each fragment is decoded by itself: with the brackets that are
open before it in front, and those it leaves open closed behind it. Cut after the 2::

    {"a":[1,2,3],"b":4}    ->    {"a":[1,2]}    {"":[3],"b":4}

What a fragment has is then added to the containers that were left open: here 3 to the
list ``a`` and ``b`` to the object. No string is cut: 16 MiB of it take up to 45 ms.
"""

from __future__ import annotations

import re
from secrets import token_hex
from typing import Any, Final

from turnstore.records import Json
from turnstore.sql import codec

FRAGMENT_BYTES: Final = 262_144
"""About the longest that is decoded by one call; a longer string is decoded whole."""

# No value has these texts. The first stands for the key of a container that an earlier
# fragment began, the second for the place where the next fragment goes on.
_BEGUN: Final = f"begun {token_hex(16)}"
_GOES_ON: Final = f"goes on {token_hex(16)}"

_STRING_REST: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_UPTO_COMMA: Final = re.compile(
    rb'(?:[^",]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^",]*+)*+,)*+', re.DOTALL
)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


def decode_elements(text: bytes) -> list[Json]:
    """Return the values of JSON texts with commas between them."""
    if len(text) > FRAGMENT_BYTES:
        try:
            elements = _Fragments(text).decode()
        except Exception:
            elements = None  # no JSON: what decodes it whole says why
        if elements is not None:
            return elements
    found: Any = codec.decode(b"[" + text + b"]")
    return list(found)


class _Fragments:
    """The fragments of one text, and what is decoded of it."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._elements: list[Json] = []
        self._open: list[Any] = [self._elements]
        """The containers that the next fragment goes on with, outermost first."""

    def decode(self) -> list[Json] | None:
        """Return the elements; None if this is no JSON, or if an object has a key
        twice, in which case the place where a fragment ends can't be told."""
        at, end = 0, len(self._text)
        while at < end:
            upto, brackets = self._cut(at)
            is_last = upto == end and not self._text.endswith(b",")
            fragment = self._text[at : upto if is_last else upto - 1]
            if not self._add(fragment, brackets, is_last=is_last):
                return None
            at = upto
        return None if self._text.endswith(b",") else self._elements

    def _cut(self, start: int) -> tuple[int, bytes]:
        """Return the end of the fragment at a place, behind a comma or at the end of
        the text, and the brackets in it. No step takes long, whatever the text."""
        text = self._text
        between: list[bytes] = []  # strings that are longer than a step
        at = start
        while at < len(text):
            step = at + FRAGMENT_BYTES
            found = _UPTO_COMMA.match(text, at, step)
            assert found is not None, "it matches nothing too"
            if step >= len(text) or found.end() > at:
                upto = len(text) if step >= len(text) else found.end()
                between.append(_STRING.sub(b"", text[at:upto]))
                at = upto
                break
            quote = text.find(b'"', at, step)
            upto = min(step, len(text)) if quote < 0 else quote
            between.append(text[at:upto])
            at = upto if quote < 0 else self._end_of_string(quote + 1)
        return at, b"".join(between).translate(None, _NO_BRACKETS)

    def _end_of_string(self, at: int) -> int:
        """Return the place behind the quote that ends a string."""
        text = self._text
        while at < len(text):
            found = _STRING_REST.match(text, at, at + FRAGMENT_BYTES)
            assert found is not None, "it matches nothing too"
            at = found.end()
            if text[at : at + 1] == b'"':
                return at + 1
        return at

    def _add(self, fragment: bytes, brackets: bytes, *, is_last: bool) -> bool:
        closed, opened = _unmatched(brackets)
        stays_open = len(self._open) - closed + len(opened)
        if closed >= len(self._open) or (is_last and stays_open > 1):
            return False
        begun = self._open[: len(self._open) - closed]
        prefix = [
            "[" if isinstance(each, list) else f'{{"{_BEGUN}":' for each in self._open
        ]
        if isinstance(self._open[-1], dict):
            prefix[-1] = "{"
        # What is open after it, innermost first.
        kinds = [
            *(isinstance(each, list) for each in begun),
            *(each == 91 for each in opened),
        ]
        suffix = "".join("]" if each else "}" for each in reversed(kinds))
        if not is_last:
            mark = f'"{_GOES_ON}"' if kinds[-1] else f'"{_GOES_ON}":0'
            suffix = f",{mark}{suffix}"
        parts = ("".join(prefix).encode(), fragment, suffix.encode())
        self._merge(codec.decode(b"".join(parts)))
        if is_last:
            return True
        self._open = begun
        for _ in opened:
            innermost = self._open[-1]
            values = innermost if isinstance(innermost, list) else innermost.values()
            self._open.append(next(reversed(values), None))
        return self._take_mark()

    def _merge(self, part: Any) -> None:
        """Add the values of a fragment to the containers that were open before it."""
        for depth, container in enumerate(self._open, 1):
            is_outer = depth < len(self._open)
            if isinstance(container, list):
                inner = part[0] if is_outer else None
                container += part[1:] if is_outer else part
            else:
                inner = part.pop(_BEGUN) if is_outer else None
                container.update(part)
            part = inner

    def _take_mark(self) -> bool:
        """Take the mark out of the container that the next fragment goes on with."""
        innermost = self._open[-1]
        if isinstance(innermost, list):
            return bool(innermost) and innermost.pop() == _GOES_ON
        return isinstance(innermost, dict) and innermost.pop(_GOES_ON, None) == 0


def _unmatched(brackets: bytes) -> tuple[int, bytes]:
    """Return how many brackets are closed that were open before, and those that stay
    open."""
    while True:
        fewer = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(fewer) == len(brackets):
            break
        brackets = fewer
    opened = brackets.lstrip(b"]}")
    return len(brackets) - len(opened), opened
