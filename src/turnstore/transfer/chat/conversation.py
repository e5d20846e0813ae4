"""Turns a conversation into the rows of a session.

Its id is the object's ``id`` (or ``conversation_id`` and the like) if that is a valid
id, else ``chat-`` and the digest of its content. Times, title, model and token counts
become those of the session and of its messages. All other keys are kept:

- The keys of the object become the session's ``metadata``: a text unchanged, another
  value as JSON. ``config["import"]`` lists the keys of the latter in ``json_keys``, to
  distinguish the text ``"0"`` from the number 0, and holds the ``format`` and the
  ``digest`` of the content. It also holds ``aside``: as JSON, what metadata can't hold.
- The keys of a message that are no fields become ``extra`` in the data of its event,
  and so do keys with the value null. ``made`` lists the fields that the source does not
  have. So ``{**stored fields that are not None and not made, **extra}`` is the message.

Each call of a message also becomes a tool call; ``pairing`` says which answer it gets.
A call without an answer is ``failed`` with the error ``unanswered``, because the
conversation is over. An answer without a call is kept as a message only.

Each message has one event: ``tool_call.completed`` for an answer, ``message.complete``
for any other message. Each call has one ``tool_call.started``, and an answer that is a
block of content one ``tool_call.completed``. The events of an assistant's message have
the ``model`` of the message, or else of the object.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any, Final

import msgspec

from turnstore.errors import InvalidArgument, PayloadInvalid, PayloadTooLarge
from turnstore.records import Json, Session
from turnstore.sql import codec
from turnstore.transfer.chat import facts
from turnstore.transfer.chat.formats import CHAT, Found
from turnstore.transfer.chat.messages import ReadMessage, read_message
from turnstore.transfer.chat.rows import MessageRows
from turnstore.transfer.files.completing import complete
from turnstore.transfer.files.system import linked
from turnstore.transfer.rows import (
    SessionRows,
    StoredMetadata,
    StoredSession,
    used,
)

METADATA_BYTES_MAX: Final = 2_000
"""A longer value is kept aside: an index of PostgreSQL holds metadata."""
_IDS: Final = ("id", "conversation_id", "session_id", "sessionId", "uuid")
_TITLES: Final = ("title", "name", "topic", "subject")


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation as it is stored. ``notes`` counts what is kept aside."""

    session_id: str
    digest: str
    format: str
    rows: SessionRows
    notes: Counter[str]


def is_from(session: Session, conversation: Conversation) -> bool:
    """Whether a stored session was imported from the same content."""
    config = session.config
    source = config.get("import") if isinstance(config, dict) else None
    return isinstance(source, dict) and source.get("digest") == conversation.digest


def digest_of(value: Json) -> str:
    """Return the digest of a value, whatever the order of its keys."""
    try:
        encoded = msgspec.json.encode(value, order="sorted")
    except UnicodeEncodeError:  # a lone surrogate
        encoded = json.dumps(value, sort_keys=True).encode()
    return hashlib.sha256(encoded).hexdigest()


def own_id(found: Found) -> tuple[str | None, str | None]:
    """Return the key of the id that a conversation has itself, and the id."""
    for key in _IDS:
        try:
            return key, codec.check_id(found.about.get(key), key)
        except InvalidArgument:
            pass
    return None, None


def read(
    found: Found, bytes_max: int, created_at: int, session_id: str | None = None
) -> Conversation:
    """Return a conversation as rows.

    :param created_at: when it is said to be created if it does not say so itself, in
        microseconds.
    :param session_id: the id that it gets in place of its own.
    :raises InvalidArgument: a message is none, or a field has the wrong type; the text
        says which.
    :raises PayloadInvalid, PayloadTooLarge: a value of another key can't be stored.
    """
    notes: Counter[str] = Counter()
    digest = digest_of(found.source)
    id_key, given_id = (None, None) if session_id else own_id(found)
    session_id = session_id or given_id or f"chat-{digest[:32]}"
    messages = [
        _read_message(at, each, notes) for at, each in enumerate(found.messages)
    ]
    start = _start(found, messages, notes)
    session = StoredSession(
        id=session_id, created_at=created_at if start is None else start
    )
    rows = SessionRows(session=session)
    _take_about(found, rows, notes, bytes_max)
    name = _format(found, messages)
    source: dict[str, Json] = {"format": "chat", "digest": digest}
    if name != CHAT:
        source["wrapping"] = name
    if id_key not in (None, "id"):
        source["id_key"] = id_key
    _keep(found, rows, source, id_key, bytes_max)
    reader = MessageRows(rows, bytes_max, notes)
    for at, message in enumerate(messages):
        try:
            reader.add(message)
        except (InvalidArgument, PayloadInvalid, PayloadTooLarge) as error:
            raise InvalidArgument(f"messages[{at}]: {error}") from error
    models = [each.model for each in rows.events if each.model is not None]
    rows.head.last_model = models[-1] if models else None
    _take_usage(found, rows)
    return Conversation(
        session_id=session_id,
        digest=digest,
        format=name,
        rows=complete(linked(rows)),
        notes=notes,
    )


def _read_message(at: int, given: Json, notes: Counter[str]) -> ReadMessage:
    try:
        return read_message(given, notes)
    except InvalidArgument as error:
        raise InvalidArgument(f"messages[{at}]: {error}") from error


def _format(found: Found, messages: list[ReadMessage]) -> str:
    """Return what the format is called, of messages with other keys as well."""
    if found.format == CHAT and any("role" in each.made for each in messages):
        first: Any = found.messages[0]
        if "data" in first:
            return "LangChain messages"
        return "Gemini CLI" if "sessionId" in found.about else "messages without role"
    return found.format


def _start(
    found: Found, messages: list[ReadMessage], notes: Counter[str]
) -> int | None:
    """Return when a conversation began, None if nothing says so."""
    about = found.about
    time, bad = facts.first_time(facts.places(about), facts.CREATED)
    if bad is not None:
        notes[f"{bad} kept as it is: no time"] += 1
    times = [each.created_at for each in messages if each.created_at is not None]
    if time is None and times:
        time = min(times)
    if time is None:
        time, _ = facts.first_time(facts.places(about), facts.UPDATED)
    return time


def _take_about(
    found: Found, rows: SessionRows, notes: Counter[str], bytes_max: int
) -> None:
    """Fill in what the object says of the session."""
    about, session = found.about, rows.session
    rows.head.updated_at, _ = facts.first_time(facts.places(about), facts.UPDATED)
    for key in _TITLES:
        title = about.get(key)
        if isinstance(title, str) and title:
            try:
                codec.check_free_text(title, "title")
            except InvalidArgument as error:
                notes[f"{key} kept as it is: {error}"] += 1
            else:
                session.title = codec.encode(title, bytes_max)
            break
    system = about.get("system")
    if isinstance(system, str) and _is_plain(system):
        session.system_prompt = codec.encode(system, bytes_max)
    for place in facts.places(about):
        model = place.get("model")
        if isinstance(model, str):
            session.model = codec.check_text(model, "model")
            break
    if session.model is None and isinstance(about.get("body"), dict):
        model = about["body"].get("model")
        session.model = model if isinstance(model, str) else None


def _keep(
    found: Found,
    rows: SessionRows,
    source: dict[str, Json],
    id_key: str | None,
    bytes_max: int,
) -> None:
    """Keep the keys of the object as metadata, or aside."""
    aside: dict[str, str] = {}
    json_keys: list[str] = []
    for key, value in found.about.items():
        if key == id_key:
            continue
        encoded = codec.encode(value, bytes_max)
        text = encoded if _is_plain(value) else codec.encode(encoded, bytes_max)
        if len(text) > METADATA_BYTES_MAX or not _is_key(key):
            aside[key] = encoded
            continue
        if not _is_plain(value):
            json_keys.append(key)
        at = rows.session.created_at
        rows.metadata.append(StoredMetadata(key=key, value=text, updated_at=at))
    source["json_keys"] = json_keys
    if aside:
        source["aside"] = aside
    rows.session.config = codec.encode({"import": source}, bytes_max)


def _is_plain(value: Json) -> bool:
    """Whether a value is kept as it is: a text without lone surrogates."""
    if not isinstance(value, str):
        return False
    try:
        codec.check_free_text(value, "value")
    except InvalidArgument:
        return False
    return True


def _is_key(key: str) -> bool:
    try:
        codec.check_id(key, "key")
    except InvalidArgument:
        return False
    return True


def _take_usage(found: Found, rows: SessionRows) -> None:
    """Take the token counts of the whole conversation if no message has any."""
    if any(each.usage is not None for each in rows.messages):
        return
    usage, _ = facts.usage(facts.places(found.about))
    if usage is not None:
        times = [each.created_at for each in rows.messages]
        at = max(times, default=rows.session.created_at)
        rows.usage = [used(usage, created_at=at, model=rows.session.model)]
