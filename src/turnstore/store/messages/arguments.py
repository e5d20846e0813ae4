"""What callers give about messages, checked and encoded, as commands."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final, TypedDict

import msgspec

from turnstore.errors import InvalidArgument, PayloadInvalid
from turnstore.records import Json, NewMessage, Role, Usage
from turnstore.sql import codec
from turnstore.store.checks import member
from turnstore.store.ledger import check_usage
from turnstore.store.messages.writes import AppendMessages, MessageRow
from turnstore.values import is_a, type_name

MESSAGE_BYTES: Final = 300


class MessageFields(TypedDict, total=False):
    """What appending takes of a message, besides its role and content."""

    id: str | None
    tool_calls: Json
    tool_call_id: str | None
    name: str | None
    usage: Usage | None
    agent_name: str | None
    model: str | None
    parent_id: str | None
    created_at: datetime | None


def message_row(given: NewMessage, bytes_max: int) -> MessageRow:
    if not is_a(given, NewMessage):
        raise InvalidArgument(
            f"messages must be NewMessage records, got {type_name(given)}"
        )
    calls = given.tool_calls
    if calls is not None and not (
        is_a(calls, (list, tuple))
        and all(is_a(each, dict) for each in codec.check_several(calls, "tool_calls"))
    ):
        raise PayloadInvalid("tool_calls must be a list of objects")
    text = codec.check_text_or_none
    return MessageRow(
        id=codec.new_id() if given.id is None else codec.check_id(given.id, "id"),
        role=check_role(given.role),
        content=codec.encode_or_none(given.content, bytes_max),
        tool_calls=codec.encode_or_none(calls, bytes_max),
        tool_call_id=text(given.tool_call_id, "tool_call_id"),
        name=text(given.name, "name"),
        agent_name=text(given.agent_name, "agent_name"),
        model=text(given.model, "model"),
        parent_id=None
        if given.parent_id is None
        else codec.check_id(given.parent_id, "parent_id"),
        usage=None
        if given.usage is None
        else msgspec.json.encode(check_usage(given.usage)).decode(),
        created_at=codec.to_micros_or_none(given.created_at, "created_at"),
    )


def message_bytes(row: MessageRow) -> int:
    return MESSAGE_BYTES + len(row.content or "") + len(row.tool_calls or "")


def append_messages(
    session_id: str,
    rows: Sequence[MessageRow],
    own_ids: Collection[str] = (),
    idempotency_key: str | None = None,
) -> AppendMessages:
    """
    :param own_ids: of the rows whose id the caller gave.
    """
    if idempotency_key is not None:
        idempotency_key = codec.check_id(idempotency_key, "idempotency_key")
    return AppendMessages(
        codec.check_id(session_id, "session_id"),
        sum(map(message_bytes, rows)),
        rows,
        frozenset(own_ids),
        idempotency_key,
    )


def check_role(role: object) -> str:
    """Return a role that can be written."""
    return member(role, Role, "role")
