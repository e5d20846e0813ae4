"""Reads chat files value by value: their conversations, and why others are left out."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from turnstore.errors import (
    BackendError,
    InvalidArgument,
    PayloadInvalid,
    PayloadTooLarge,
)
from turnstore.options import MIB, StoreOptions
from turnstore.records import Json
from turnstore.sql import codec
from turnstore.transfer.chat.conversation import Conversation, digest_of, own_id, read
from turnstore.transfer.chat.formats import Found, find, is_message
from turnstore.transfer.chat.source import TextSource
from turnstore.transfer.chat.values import Value, Values
from turnstore.transfer.files.source import Source

VALUE_BYTES_MIN: Final = 64 * MIB
PAYLOADS_PER_VALUE: Final = 4
"""A value of a file may have these bytes, or ``payload_bytes_max`` times this."""
DIGITS_MAX: Final = 4_300

NOT_JSON: Final = "not JSON"
NO_CONVERSATION: Final = "no conversation"
INVALID: Final = "can't be stored"
UNREADABLE: Final = "unreadable file"

_OF_A_DATABASE: Final = ("-wal", "-shm", "-journal")
_decode: Final = msgspec.json.Decoder().decode


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """What was found at a line: a conversation, or the reason why there is none."""

    file: str
    line: int | None
    conversation: Conversation | None = None
    kind: str = ""
    reason: str = ""
    done_bytes: int = 0


class ChatFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file to read. ``part``: its path within the folder that is read, else empty."""

    name: str
    file: Callable[[], BinaryIO] | BinaryIO
    part: str = ""


def files_of(given: str | os.PathLike[str] | BinaryIO) -> list[ChatFile]:
    """Return the file at a path, or the files in the folder there, by name; those whose
    name begins with a dot are left out.

    :param given: a path, or a binary file that is open.
    :raises OSError: there is no file.
    :raises InvalidArgument: there is a folder without files.
    """
    if not isinstance(given, str | os.PathLike):
        return [ChatFile(name=str(getattr(given, "name", "<input>")), file=given)]
    path = Path(given)
    if not path.is_dir():
        path.stat()
        return [_at(path)]
    found: list[Path] = []
    for folder, folders, names in os.walk(path):
        folders[:] = [each for each in folders if not each.startswith(".")]
        found += [Path(folder, each) for each in names if not each.startswith(".")]
    # A pipe or a device would not end.
    files = [each for each in found if each.is_file()]
    if not files:
        raise InvalidArgument(f"the folder {path} holds no file to import")
    parts = sorted(each.relative_to(path).as_posix() for each in files)
    return [_at(path / each, each) for each in parts]


def _at(path: Path, part: str = "") -> ChatFile:
    return ChatFile(name=str(path), file=lambda: _opened(path), part=part)


def _opened(path: Path) -> BinaryIO:
    """Open a file that is no database: to close one by any way but SQLite drops the
    locks that this process has on it, perhaps those of the store.

    :raises InvalidArgument: it is a database, or belongs to one.
    """
    reason = f"{path} is not text: it is a database, or belongs to one"
    if path.name.endswith(_OF_A_DATABASE):
        raise InvalidArgument(reason)
    if path.stat().st_size:
        source = Source(path)
        try:
            is_database = source.open()
        except BackendError:
            is_database = True
        finally:
            source.close()
        if is_database:
            raise InvalidArgument(reason)
    return path.open("rb")


class ChatReader:
    """Reads the conversations of files, one after another.

    Used from one thread at a time.

    :param known: the formats that are known. If given, the first values have to show
        that the file is a chat file; else the error names these formats.
    """

    def __init__(
        self,
        files: Sequence[ChatFile],
        options: StoreOptions,
        known: str | None = None,
    ) -> None:
        self.done_bytes = 0
        self.total_bytes = 0
        self._files = files
        self._bytes_max = options.payload_bytes_max
        self._known = known
        self._created_at = 0
        # Of several files: which of them has an id, and the digest of what it is of.
        self._seen: dict[str, tuple[str, str]] = {}
        self._items = self._read()
        self._source: TextSource | None = None

    def open(self) -> None:
        """:raises InvalidArgument: it is no chat file."""
        for each in self._files:
            if each.part:
                self.total_bytes += os.stat(each.name).st_size
        if self._known is None:
            return
        first: list[Read] = []
        while len(first) < 10 and (item := self.next()) is not None:
            first.append(item)
        if all(each.kind in (NOT_JSON, NO_CONVERSATION) for each in first):
            name = self._files[0].name if self._files else "the folder"
            raise InvalidArgument(f"{name}: no known format: known are {self._known}")
        self._items = _chained(first, self._items)

    def close(self) -> None:
        if self._source is not None:
            self._source.close()

    def next(self) -> Read | None:
        """Return what comes next; None at the end.

        :raises InvalidArgument: the only file is not text.
        :raises OSError: the only file can't be read.
        """
        item = next(self._items, None)
        if item is not None:
            self.done_bytes = item.done_bytes
        return item

    def _read(self) -> Iterator[Read]:
        before = 0
        for file in self._files:
            source = self._source = TextSource(file.name, file.file)
            try:
                source.open()
                for item in self._read_file(file, source):
                    done_bytes = before + source.done_bytes()
                    yield msgspec.structs.replace(item, done_bytes=done_bytes)
            except (InvalidArgument, OSError) as error:
                if not file.part:
                    raise
                reason = str(error).removeprefix(f"{file.name} ")
                yield Read(file=file.name, line=None, kind=UNREADABLE, reason=reason)
            finally:
                source.close()
            before += source.total_bytes

    def _read_file(self, file: ChatFile, source: TextSource) -> Iterator[Read]:
        if not file.part:
            self.total_bytes = source.total_bytes
        bytes_max = max(VALUE_BYTES_MIN, PAYLOADS_PER_VALUE * self._bytes_max)
        values = Values(source.read, bytes_max, _is_message)
        # Messages that are values themselves make one conversation.
        single: list[Json] = []
        size_bytes, is_broken = 0, False
        while (value := values.next()) is not None:
            values.forget()
            source.used_bytes = values.done_bytes
            notes: Counter[str] = Counter()
            try:
                decoded = _value(value, notes)
            except InvalidArgument as error:
                is_broken = True
                yield _left_out(file, value.line, NOT_JSON, str(error))
                continue
            if is_message(decoded):
                app = _app(decoded)
                if app is not None:
                    reason = f"a transcript of {app}, which is not read"
                    yield _left_out(file, value.line, UNREADABLE, reason)
                    return
                size_bytes += len(value.data or b"")
                if size_bytes > bytes_max:
                    reason = f"messages of more than {bytes_max} bytes"
                    yield _left_out(file, value.line, INVALID, reason)
                    return
                single.append(decoded)
                continue
            yield from self._conversations(file, value.line, decoded, notes)
        if single and (is_broken or source.fault is not None):
            # Without what is broken they may be part of a conversation only.
            reason = (
                f"{len(single)} messages by themselves: a part of the file is broken"
            )
            yield _left_out(file, None, INVALID, reason)
        elif single:
            yield from self._conversations(file, 1, single, Counter())
        if source.fault is not None:
            yield _left_out(file, None, UNREADABLE, source.fault)

    def _conversations(
        self, file: ChatFile, line: int, decoded: Json, notes: Counter[str]
    ) -> Iterator[Read]:
        is_empty = True
        for found in find(decoded):
            is_empty = False
            # Later with each, because they are written concurrently, in any order.
            self._created_at = max(codec.now_micros(), self._created_at + 1)
            try:
                taken = self._id_for(file, found)
                conversation = read(found, self._bytes_max, self._created_at, taken)
            except (InvalidArgument, PayloadInvalid, PayloadTooLarge) as error:
                yield _left_out(file, line, INVALID, str(error))
                continue
            conversation.notes.update(notes)
            notes = Counter()
            yield Read(file=file.name, line=line, conversation=conversation)
        if is_empty:
            yield _left_out(file, line, NO_CONVERSATION, _why(decoded))

    def _id_for(self, file: ChatFile, found: Found) -> str | None:
        """Return an id for a conversation of a folder, if another file has its own."""
        _, given_id = own_id(found)
        if not file.part or given_id is None:
            return None
        mine = (file.part, digest_of(found.source))
        theirs = self._seen.setdefault(given_id, mine)
        if theirs[0] == mine[0] or theirs[1] == mine[1]:
            return None
        own = f"{file.part}:{given_id}"
        return own if len(own) <= codec.ID_CHARS_MAX else f"chat-{mine[1][:32]}"


def _chained(first: list[Read], rest: Iterator[Read]) -> Iterator[Read]:
    yield from first
    yield from rest


def _left_out(file: ChatFile, line: int | None, kind: str, reason: str) -> Read:
    return Read(file=file.name, line=line, kind=kind, reason=reason)


def _is_message(data: bytes) -> bool:
    try:
        return is_message(_value(Value(0, data), Counter()))
    except InvalidArgument:
        return False


def _value(given: Value, notes: Counter[str]) -> Json:
    """
    :param notes: counts numbers that are no JSON, or too long, and are kept as text.
    :raises InvalidArgument: it is not JSON.
    """
    if given.data is None:
        raise InvalidArgument(given.reason)
    try:
        return _decode(given.data)
    except (msgspec.MsgspecError, RecursionError) as error:
        first = error
    try:
        return _decode_leniently(given.data.decode(), notes)
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"not UTF-8: {error}") from error
    except (ValueError, RecursionError):
        raise InvalidArgument(f"not JSON: {first}") from first


def _decode_leniently(text: str, notes: Counter[str]) -> Json:
    """Return a value that may have lone surrogates, and numbers that JSON has not."""

    def constant(name: str) -> str:
        notes[f"{name} kept as text"] += 1
        return name

    def real(digits: str) -> float | str:
        number = float(digits)
        return number if math.isfinite(number) else constant(digits[:80])

    def integer(digits: str) -> int | str:
        if len(digits) <= DIGITS_MAX:
            return int(digits)
        notes["an integer of too many digits kept as text"] += 1
        return digits

    return json.loads(
        text, parse_constant=constant, parse_float=real, parse_int=integer
    )


def _app(message: dict[str, Any]) -> str | None:
    """Return the program whose transcript has a message like this on a line."""
    if "sessionId" in message and "parentUuid" in message:
        return "Claude Code"
    return None


def _why(decoded: Json) -> str:
    if not isinstance(decoded, dict):
        return "no conversation: not a JSON object"
    if decoded.keys() >= {"timestamp", "type", "payload"}:
        return "no conversation: a line of a Codex transcript, which is not read"
    return "no conversation: no list of messages"
