"""The text of a chat file as UTF-8, in chunks: unpacked, without byte order mark."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, Final

from turnstore.errors import InvalidArgument

CHUNK_BYTES: Final = 2**20
SNIFFED_BYTES: Final = 8_192
"""Text has no NUL in its first bytes."""

_GZIP: Final = b"\x1f\x8b"
_PACKED: Final = {
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
# UTF-32 first: its mark begins with that of UTF-16.
_MARKS: Final = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}


class TextSource:
    """Reads one file. Used from one thread at a time.

    ``fault``: why the text ended early, None if it has not. ``used_bytes``: of the text
    that was read, what its reader is done with.

    :param name: how messages call the file.
    :param file: opens it; a file that was open before is left open.
    """

    def __init__(self, name: str, file: Callable[[], BinaryIO] | BinaryIO) -> None:
        self.name = name
        self.fault: str | None = None
        self.total_bytes = 0
        self.text_bytes = self.used_bytes = 0
        self._given = file
        self._raw: BinaryIO | None = None
        self._unpacked: Any = None
        self._decoder: codecs.IncrementalDecoder | None = None
        self._head: bytes | None = None

    def open(self) -> None:
        """
        :raises InvalidArgument: the file is not text.
        :raises OSError: it can't be read.
        """
        self._raw = self._given() if callable(self._given) else self._given
        try:
            facts = os.fstat(self._raw.fileno())
        except (OSError, AttributeError, io.UnsupportedOperation):
            pass
        else:
            self.total_bytes = facts.st_size
        first = self._raw.read(SNIFFED_BYTES)
        joined: Any = _Rest(first, self._raw)
        for magic, packer in _PACKED.items():
            if first.startswith(magic):
                raise InvalidArgument(f"{self.name} is packed by {packer}: unpack it")
        if first.startswith(_GZIP):
            self._unpacked = gzip.GzipFile(fileobj=io.BufferedReader(joined))
        else:
            self._unpacked = io.BufferedReader(joined)
        head = self._read(SNIFFED_BYTES)
        encoding = _encoding(head)
        if encoding is not None:
            self._decoder = codecs.getincrementaldecoder(encoding)()
        self._head = self._decoded(head)
        if b"\x00" in self._head:
            raise InvalidArgument(f"{self.name} is not text")

    def close(self) -> None:
        if callable(self._given) and self._raw is not None:
            self._raw.close()

    def read(self) -> bytes:
        """Return the next bytes of UTF-8; nothing at the end."""
        if self._head is not None:
            text, self._head = self._head, None
            if text:
                self.text_bytes += len(text)
                return text
        while self.fault is None:
            data = self._read(CHUNK_BYTES)
            text = self._decoded(data)
            self.text_bytes += len(text)
            if text or not data:
                return text
        return b""

    def done_bytes(self) -> int:
        """Return about how many bytes of the file make what is used of the text."""
        if self._decoder is None and not isinstance(self._unpacked, gzip.GzipFile):
            return self.used_bytes
        assert self._raw is not None
        try:
            raw_bytes = self._raw.tell()
        except OSError:  # a pipe
            return self.used_bytes
        return raw_bytes * self.used_bytes // max(1, self.text_bytes)

    def _read(self, size_bytes: int) -> bytes:
        try:
            data: bytes = self._unpacked.read(size_bytes)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self.fault = f"not read to its end, as its gzip data are damaged: {error}"
            return b""
        return data

    def _decoded(self, data: bytes) -> bytes:
        if self._decoder is None:
            return data
        try:
            return self._decoder.decode(data, final=not data).encode()
        except UnicodeError as error:
            self.fault = f"not read to its end, as it is not UTF: {error}"
            return b""


class _Rest(io.RawIOBase):
    """A file from whose start some bytes were read already."""

    def __init__(self, first: bytes, file: BinaryIO) -> None:
        self._first = first
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size_bytes = len(buffer)
        data = self._first[:size_bytes] or self._file.read(size_bytes)
        self._first = self._first[size_bytes:]
        buffer[: len(data)] = data
        return len(data)


def _encoding(head: bytes) -> str | None:
    """Return the encoding that the first bytes show, None for plain UTF-8."""
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            return encoding
    # JSON begins with two characters of ASCII.
    if len(head) >= 4 and head[0] and not head[1] and head[2] and not head[3]:
        return "utf-16-le"
    if len(head) >= 4 and not head[0] and head[1] and not head[2] and head[3]:
        return "utf-16-be"
    return None
