"""How rows become records: one SELECT for each, whose columns follow from its fields.

Rooms narrow these by ``where`` and ``order_by``. They stand here because more than
one room reads each of them.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import (
    Column,
    ColumnElement,
    Select,
    Table,
    Text,
    bindparam,
    case,
    func,
    literal_column,
    select,
    type_coerce,
)

from turnstore.records import (
    Event,
    Message,
    Role,
    Session,
    SessionStatus,
    ToolCall,
    ToolCallStatus,
    Usage,
)
from turnstore.sql.column_types import JsonText
from turnstore.sql.dialects import Formatted, Joined, Quoted
from turnstore.sql.query import object_of
from turnstore.sql.schema import (
    events,
    messages,
    session_heads,
    session_metadata,
    sessions,
    tool_calls,
)

_pairs = Joined(
    Quoted(session_metadata.c.key)
    .concat(literal_column("':'"))
    .concat(session_metadata.c.value),
    literal_column("','"),
)
_METADATA: Final = (
    select(
        type_coerce(
            Formatted(
                literal_column("'{%s}'"), func.coalesce(_pairs, literal_column("''"))
            ),
            JsonText,
        )
    )
    .where(session_metadata.c.session_key == session_heads.c.session_key)
    .correlate(session_heads)
    .scalar_subquery()
)

_USAGE: Final = object_of(
    {name: session_heads.c[name] for name in Usage.__struct_fields__}
)


def _fields(
    record: type[Struct],
    *tables: Table,
    without: Collection[str] = (),
    **given: ColumnElement[Any],
) -> Select[Any]:
    """Return the SELECT of a record: of each field the column of its name, in the first
    table that has one, or what is given for it.

    :raises LookupError: a field has neither.
    """
    columns: list[ColumnElement[Any]] = []
    for name in record.__struct_fields__:
        found = [table.c[name] for table in tables if name in table.c]
        if name in given:
            columns.append(given[name].label(name))
        elif found:
            columns.append(found[0])
        elif name not in without:
            raise LookupError(f"no column for {record.__name__}.{name}")
    return select(*columns)


def _raw(column: Column[str], raw: Column[str], known: type[StrEnum]) -> Any:
    """Return the text that reads as unknown: an import's, or a later release's."""
    names: list[ColumnElement[str]] = [literal_column(f"'{each}'") for each in known]
    return func.coalesce(raw, case((column.not_in(names), column)), type_=Text)


SESSION: Final = _fields(
    Session,
    sessions,
    session_heads,
    status_raw=_raw(sessions.c.status, sessions.c.status_raw, SessionStatus),
    metadata=_METADATA,
    usage=_USAGE,
).join(session_heads, session_heads.c.session_key == sessions.c.session_key)

MESSAGE_COLUMNS: Final = _fields(
    Message,
    messages,
    session_id=sessions.c.id,
    role_raw=_raw(messages.c.role, messages.c.role_raw, Role),
    is_summary=messages.c.summary_of.is_not(None),
    # Told by ``messages.reads.marked``.
    without=["compacted_at"],
)
MESSAGE: Final = MESSAGE_COLUMNS.join(
    sessions, sessions.c.session_key == messages.c.session_key
)

TOOL_CALL: Final = _fields(
    ToolCall,
    tool_calls,
    session_id=sessions.c.id,
    status_raw=_raw(tool_calls.c.status, tool_calls.c.status_raw, ToolCallStatus),
).join(sessions, sessions.c.session_key == tool_calls.c.session_key)

EVENT_COLUMNS: Final = _fields(Event, events, session_id=sessions.c.id)

SESSION_IS: Final = sessions.c.id == bindparam("session")
"""Narrows any of them to the session given as ``session``."""
