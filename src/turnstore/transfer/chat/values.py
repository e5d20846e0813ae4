"""Splits text into JSON values: one per line, or over many lines, one after another.

The elements of a list are values of their own, except of a list of messages, which is
one conversation. So memory is bounded by the largest value. Brackets and strings alone
tell where a value ends; whether it is JSON its decoder finds.

Behind something that is no JSON the splitter goes on at the next line, or where the
broken value had several lines, at the next line that begins a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import msgspec

DEPTH_MAX: Final = 256
_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_SPACE_OR_COMMA: Final = re.compile(rb"[ \t\r\n,]*+")
_AFTER_LIST: Final = re.compile(rb"[ \t\r\n,\]]*+")
# A quote alone begins a string that does not end here.
_TOKEN: Final = re.compile(
    rb'"[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+"|["{}\[\]]|\n[ \t\r\n]*+'
)
_OPENING: Final = frozenset(b"{[")
_VALUE: Final = frozenset(b'{["-0123456789tfnNI')
_END: Final = frozenset(b",]}:")
_FOLLOWING: Final = {
    ord("{"): frozenset(b'"}'),
    ord("["): _VALUE | frozenset(b"]"),
    ord(","): _VALUE,
    ord(":"): _VALUE,
}
"""What the next line may begin with, by what a line ends with; ``_END`` after a
value."""


class Value(msgspec.Struct, frozen=True):
    """A value, or the reason why there is none, and the line where it begins."""

    line: int
    data: bytes | None = None
    reason: str = ""


class _BrokenError(Exception):
    """A value has no end.

    :param at: where in the buffer that shows.
    """

    def __init__(self, reason: str, at: int) -> None:
        super().__init__(reason)
        self.at = at


class Values:
    """
    :param read: returns the next bytes; nothing at the end.
    :param bytes_max: of one value.
    :param is_message: whether a value is a message, so that its list is one value.
    """

    def __init__(
        self,
        read: Callable[[], bytes],
        bytes_max: int,
        is_message: Callable[[bytes], bool],
    ) -> None:
        self._read = read
        self._bytes_max = bytes_max
        self._is_message = is_message
        self._buffer = bytearray()
        self._at = 0
        self._line = 1
        self._is_in_list = False
        self._space = _SPACE
        self.done_bytes = 0

    def next(self) -> Value | None:
        """Return the next value; None at the end."""
        while self._skip_space():
            first = self._buffer[self._at]
            if self._is_in_list and first == ord("]"):
                self._is_in_list = False
                self._space = _SPACE
                self._advance(self._at + 1)
            elif first == ord("[") and not self._is_in_list and self._has_values():
                self._is_in_list = True
                self._space = _SPACE_OR_COMMA
                self._advance(self._at + 1)
            else:
                return self._next_value(first)
        if self._is_in_list:
            self._is_in_list = False
            return Value(self._line, reason="the list is not closed")
        return None

    def _next_value(self, first: int) -> Value:
        line, start = self._line, self._at
        try:
            if first not in _OPENING:
                raise _BrokenError("not JSON: neither an object nor a list", start)
            end = self._end_of_value(start)
        except _BrokenError as error:
            self._recover(start, error.at)
            return Value(line, reason=str(error))
        data = bytes(self._buffer[start:end])
        self._advance(end)
        self._skip_space(fill=False)
        return Value(line, data)

    def _skip_space(self, *, fill: bool = True) -> bool:
        """Go to the next character that is no space; return whether there is one."""
        while True:
            match = self._space.match(self._buffer, self._at)
            assert match is not None
            self._advance(match.end())
            if self._at < len(self._buffer):
                return True
            if not fill or not self._fill():
                return False

    def _has_values(self) -> bool:
        """Whether the list that begins here is one of several values."""
        at = self._at + 1
        while True:
            match = _SPACE.match(self._buffer, at)
            assert match is not None
            at = match.end()
            if at < len(self._buffer):
                break
            if at - self._at > self._bytes_max or not self._fill():
                return False
        if self._buffer[at] == ord("["):
            return True
        if self._buffer[at] != ord("{"):
            return False
        try:
            end = self._end_of_value(at)
        except _BrokenError:
            # A list in one line is one value, so that the next line is read.
            return b"\n" in self._buffer[self._at : at]
        return not self._is_message(bytes(self._buffer[at:end]))

    def _end_of_value(self, start: int) -> int:
        """Return where the value ends that begins at ``start``.

        :raises _BrokenError: it has no end, is too long or too deep.
        """
        opened, at = bytearray(), start
        while True:
            for token in _TOKEN.finditer(self._buffer, at):
                kind = self._buffer[token.start()]
                at = token.end()
                if kind in _OPENING:
                    opened.append(kind)
                    if len(opened) > DEPTH_MAX:
                        raise _BrokenError(f"not JSON: over {DEPTH_MAX} levels", at)
                elif kind == ord("\n"):
                    if at == len(self._buffer):
                        at = token.start()
                        break
                    self._check_lines(token.start(), at)
                elif kind != ord('"'):
                    if kind - opened.pop() != 2:  # as "}" - "{" and "]" - "["
                        raise _BrokenError("not JSON: brackets do not match", at)
                    if not opened:
                        self._check_size(start, at)
                        return at
                elif token.end() == token.start() + 1:
                    at = token.start()
                    if self._buffer.find(b"\n", at) >= 0:
                        raise _BrokenError("not JSON: a text has no end", at)
                    break
            self._fill_value(start)

    def _check_lines(self, newline: int, following: int) -> None:
        """Check that a value can go on in the next line: a cut line is no part of it.

        :raises _BrokenError: it can't.
        """
        before = newline - 1
        while self._buffer[before] in b" \t\r\n":
            before -= 1
        expected = _FOLLOWING.get(self._buffer[before], _END)
        if self._buffer[following] not in expected:
            raise _BrokenError("not JSON: the value is cut", newline)

    def _fill_value(self, start: int) -> None:
        """Read more of a value, as much again as there is of it."""
        size_bytes = len(self._buffer) - start
        self._check_size(start, len(self._buffer))
        if not self._fill():
            raise _BrokenError("not JSON: ends within a value", len(self._buffer))
        while len(self._buffer) - start < min(2 * size_bytes, self._bytes_max):
            if not self._fill():
                break

    def _check_size(self, start: int, end: int) -> None:
        if end - start > self._bytes_max:
            raise _BrokenError(
                f"more than {self._bytes_max} bytes: a larger payload_bytes_max allows "
                "more",
                end,
            )

    def _recover(self, start: int, broken_at: int) -> None:
        """Go to where the next value may begin."""
        line_start = self._buffer.rfind(b"\n", 0, start) + 1
        indent = bytes(self._buffer[line_start:start])
        newline = self._buffer.find(b"\n", start)
        if 0 <= newline < broken_at and not indent.strip():
            wanted = re.compile(rb"\n(?=" + re.escape(indent) + rb"[{\[])")
        else:
            wanted = re.compile(rb"\n")
            if self._is_in_list:
                # Lists that are lines have to be told from the rest of this one.
                self._is_in_list = False
                self._space = _AFTER_LIST
        kept = len(indent) + 2
        at = start
        while True:
            match = wanted.search(self._buffer, at)
            if match is not None:
                self._advance(match.end())
                return
            self._advance(max(at, len(self._buffer) - kept))
            self.forget()
            at = self._at
            if not self._fill():
                self._advance(len(self._buffer))
                return

    def _advance(self, at: int) -> None:
        self._line += self._buffer.count(b"\n", self._at, at)
        self.done_bytes += at - self._at
        self._at = at

    def _fill(self) -> bool:
        """Read more; return whether there was more."""
        data = self._read()
        self._buffer += data
        return bool(data)

    def forget(self) -> None:
        """Give up what was returned."""
        # The start of the line stays, for its indentation.
        kept = min(self._at, 256)
        del self._buffer[: self._at - kept]
        self._at = kept
