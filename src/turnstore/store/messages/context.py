"""How the context of a branch is read: what a model may be sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, bindparam, literal_column, or_, select

from turnstore.errors import MessageNotFound
from turnstore.records import Message, ToolCall, ToolCallStatus
from turnstore.sql import codec
from turnstore.sql.bounded import BoundedQuery
from turnstore.sql.bulk import is_in
from turnstore.sql.schema import session_heads, sessions, tool_calls
from turnstore.store.heads import find_keys
from turnstore.store.messages.arrangement import Arrangement
from turnstore.store.messages.pairing import branch
from turnstore.store.messages.reads import ACTIVE_ID, Active
from turnstore.store.messages.writes import find_messages
from turnstore.store.selects import MESSAGE_COLUMNS, SESSION_IS, TOOL_CALL

ENDED: Final = (
    ToolCallStatus.COMPLETED,
    ToolCallStatus.FAILED,
    ToolCallStatus.DENIED,
)


def context_single_statement(
    connection: Connection, session_id: str, message_id: str | None
) -> list[Message] | None:
    """Return what a model may be sent, from one statement; None where it takes more."""
    answer = _ACTIVE.single_statement(connection, session_id)
    if answer is None:
        return None
    found, [active_id, ended] = answer
    if message_id is not None and all(each.id != message_id for each in found):
        return None
    arrangement = Arrangement(branch(found, message_id or active_id))
    if ended and arrangement.unanswered():
        return None
    return arrangement.messages()


def context_snapshot(
    connection: Connection, session_id: str, message_id: str | None
) -> list[Message]:
    """As ``context_single_statement``, whatever it takes. For a snapshot.

    :raises SessionNotFound, MessageNotFound: no such session or message.
    """
    found = _ACTIVE.read(connection, session_id)
    if message_id is None:
        tip = connection.execute(ACTIVE_ID, {"session": session_id}).scalar_one()
    else:
        _check_message(connection, session_id, message_id)
        tip = message_id
    arrangement = Arrangement(branch(found, tip))
    calls = arrangement.unanswered()
    rows = _ended_calls(connection, session_id, calls) if calls else ()
    return arrangement.messages(rows)


def _check_message(connection: Connection, session_id: str, message_id: str) -> None:
    # It may be archived.
    key = find_keys(connection, [session_id])[session_id]
    if not find_messages(connection, {(key, message_id)}):
        raise MessageNotFound(session_id, message_id)


def _ended_calls(
    connection: Connection, session_id: str, calls: Sequence[tuple[str, str]]
) -> list[ToolCall]:
    """Return the tool calls that have ended, of messages with calls of these ids,
    oldest first."""
    # Ids in a payload may hold what those of rows can't.
    calls = [each for each in calls if codec.is_key(each[1])]
    return _ENDED_CALLS(
        connection,
        session=session_id,
        messages=codec.array({message_id for message_id, _ in calls}),
        calls=codec.array({call_id for _, call_id in calls}),
    )


_ENDED_COUNT: Final = (
    select(session_heads.c.tool_call_count - session_heads.c.pending_tool_calls)
    .join(sessions, sessions.c.session_key == session_heads.c.session_key)
    .where(SESSION_IS)
)
_ACTIVE: Final = Active(
    MESSAGE_COLUMNS,
    Message,
    extra=[ACTIVE_ID.scalar_subquery(), _ENDED_COUNT.scalar_subquery()],
)
_calls: Final[Any] = bindparam("calls")
_ENDED_CALLS: Final = BoundedQuery(
    TOOL_CALL.where(
        SESSION_IS,
        tool_calls.c.status.in_([literal_column(f"'{each}'") for each in ENDED]),
        is_in(tool_calls.c.message_id, bindparam("messages")),
        # Two conditions that have an index each.
        or_(is_in(tool_calls.c.call_id, _calls), is_in(tool_calls.c.id, _calls)),
    ).order_by(tool_calls.c.seq),
    ToolCall,
)
