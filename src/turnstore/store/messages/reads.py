"""How messages are read: a session's history, marked with what is archived.

``compactions`` alone says what is archived. A compaction archives the messages before
its boundary that are no summaries, and the summaries of the compactions before it. So
the active messages are those from the latest boundary on, with the latest summary, and
a fork and its parent, which share rows, may be compacted apart.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    bindparam,
    cast,
    func,
    literal_column,
    or_,
    select,
    true,
)

from turnstore.records import Message
from turnstore.sql import codec
from turnstore.sql.bounded import BoundedQuery
from turnstore.sql.dialects import Joined
from turnstore.sql.query import Query, as_micros, object_of
from turnstore.sql.schema import compactions, messages, session_heads, sessions
from turnstore.store.heads import of_session
from turnstore.store.history import SOURCES_COUNT, History, find_sources
from turnstore.store.selects import MESSAGE, MESSAGE_COLUMNS, SESSION_IS

R = TypeVar("R")


class CompactionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of ``compactions``."""

    session_key: int
    seq: int
    summary_seq: int
    boundary_seq: int
    archived: int
    purged: int = 0
    model: str | None
    created_at: int


class Active(Generic[R]):
    """The active messages of a session by seq, as records of any type."""

    def __init__(
        self,
        columns: Select[Any],
        record: type[R],
        extra: Sequence[ColumnElement[Any]] = (),
    ) -> None:
        self._history = History(
            "message",
            messages,
            columns,
            record,
            _IS_NO_OLD_SUMMARY,
            extra=extra,
            first=_BOUNDARY,
        )

    def single_statement(
        self, connection: Connection, session_id: str
    ) -> tuple[list[R], Sequence[Any]] | None:
        """Read them with the extra values in one statement; None where it takes more.

        :raises SessionNotFound: no such session.
        """
        answer = self._history.single_statement(
            connection, None, session=session_id, after=0, before=codec.INTEGER_MAX
        )
        if answer is not None:
            of_session(connection, session_id, answer[0])
        return answer

    def read(self, connection: Connection, session_id: str) -> list[R]:
        """:raises SessionNotFound: no such session."""
        found = self._history.snapshot(
            connection,
            None,
            session=session_id,
            after=0,
            before=codec.INTEGER_MAX,
        )
        return of_session(connection, session_id, found)


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """Which messages of a session.

    ``after`` and ``before`` are exclusive. ``count``: the oldest so many of them, or
    the newest. ``which``: ``spoken`` are those that are no summaries.
    """

    session_id: str
    after: int = 0
    before: int = codec.INTEGER_MAX
    count: int | None = None
    newest: bool = False
    role: str | None = None
    which: Literal["all", "active", "spoken"] = "all"

    def values(self) -> dict[str, Any]:
        return {
            "session": self.session_id,
            "after": self.after,
            "before": self.before,
            "role": self.role,
        }


def list_single_statement(
    connection: Connection, wanted: Range
) -> list[Message] | None:
    """Return messages by seq from one statement; None where it takes more."""
    answer = _history(wanted).single_statement(
        connection, wanted.count, **wanted.values()
    )
    if answer is None:
        return None
    found, [rows] = answer
    return _finished(connection, wanted, found, _DECODE_COMPACTIONS(f"[{rows or ''}]"))


def list_snapshot(connection: Connection, wanted: Range) -> list[Message]:
    """As ``list_single_statement``, whatever it takes. For a snapshot.

    :raises SessionNotFound: no such session.
    """
    found = _history(wanted).snapshot(connection, wanted.count, **wanted.values())
    rows = read_compactions(connection, wanted.session_id)
    return _finished(connection, wanted, found, rows)


class Branch(msgspec.Struct, frozen=True, kw_only=True):
    """The last ``count`` messages from the root to one; None is the active one."""

    session_id: str
    message_id: str | None
    count: int


def branch_single_statement(
    connection: Connection, wanted: Branch
) -> list[Message] | None:
    """Return messages by seq; None for a fork, or where one statement is not
    enough."""
    found = _BRANCH.single_statement(
        connection,
        session=wanted.session_id,
        message=wanted.message_id,
        count=wanted.count,
    )
    if found is None:
        return None
    sources, rows = found.extra
    if sources:
        return None
    of_session(connection, wanted.session_id, found.rows)
    return marked(found.rows, _DECODE_COMPACTIONS(f"[{rows or ''}]"))


def branch_snapshot(connection: Connection, wanted: Branch) -> list[Message]:
    """As ``branch_single_statement``, of a fork out of its whole history. For a
    snapshot."""
    session_id, message_id = wanted.session_id, wanted.message_id
    if not find_sources(connection, session_id):
        branch = _BRANCH(
            connection, session=session_id, message=message_id, count=wanted.count
        )
        of_session(connection, session_id, branch)
        return marked(branch, read_compactions(connection, session_id))
    if message_id is None:
        message_id = connection.execute(
            ACTIVE_ID, {"session": session_id}
        ).scalar_one_or_none()
    found: list[Message] = []
    for message in reversed(list_snapshot(connection, Range(session_id=session_id))):
        if message.id == message_id:
            found.append(message)
            message_id = message.parent_id
            if len(found) == wanted.count:
                break
    return found[::-1]


def read_compactions(connection: Connection, session_id: str) -> list[CompactionRow]:
    """Return a session's compactions, oldest first."""
    return _READ_COMPACTIONS(connection, session=session_id)


def _history(wanted: Range) -> History[Message]:
    return _HISTORIES[wanted.which, wanted.newest]


def _finished(
    connection: Connection,
    wanted: Range,
    found: list[Message],
    rows: list[CompactionRow],
) -> list[Message]:
    of_session(connection, wanted.session_id, found)
    if wanted.which != "active":
        found = marked(found, rows)
    return found[::-1] if wanted.newest else found


def marked(found: list[Message], rows: list[CompactionRow]) -> list[Message]:
    """Return messages with the time of archiving, of those that are archived: by the
    first compaction with a boundary beyond it, a summary by the first one with a
    summary beyond it."""
    if not rows:
        return found
    boundaries = [each.boundary_seq for each in rows]
    summaries = [each.summary_seq for each in rows]
    times = [codec.from_micros(each.created_at) for each in rows]
    given: list[Message] = []
    for message in found:
        edges = summaries if message.is_summary else boundaries
        at = bisect_right(edges, message.seq)
        if at < len(times):
            message = msgspec.structs.replace(message, compacted_at=times[at])
        given.append(message)
    return given


_of_session = compactions.c.session_key == sessions.c.session_key
_BOUNDARY: Final = (
    select(func.coalesce(func.max(compactions.c.boundary_seq), 0))
    .join(sessions, _of_session)
    .where(SESSION_IS)
    .scalar_subquery()
)
_LATEST: Final = (
    select(func.max(compactions.c.seq))
    .join(sessions, _of_session)
    .where(SESSION_IS)
    .scalar_subquery()
)
_IS_NO_OLD_SUMMARY: Final = or_(
    messages.c.summary_of.is_(None), messages.c.summary_of == _LATEST
)
_columns = {
    **{name: compactions.c[name] for name in CompactionRow.__struct_fields__},
    "created_at": as_micros(compactions.c.created_at),
}
_rows = (
    select(object_of(_columns).label("row"))
    .join(sessions, _of_session)
    .where(SESSION_IS)
    .order_by(compactions.c.seq)
    .subquery("compaction")
)
_joined = Joined(_rows.c.row, literal_column("','"))
_COMPACTIONS: Final = select(_joined).scalar_subquery()
_DECODE_COMPACTIONS: Final = msgspec.json.Decoder(list[CompactionRow]).decode
_READ_COMPACTIONS: Final = Query(
    select(*(each.label(name) for name, each in _columns.items()))
    .join(sessions, _of_session)
    .where(SESSION_IS)
    .order_by(compactions.c.seq),
    CompactionRow,
)
_ROLE: Final = bindparam("role", type_=Text())
_IS_AMONG: Final = {
    "all": true(),
    "active": _IS_NO_OLD_SUMMARY,
    "spoken": messages.c.summary_of.is_(None),
}
_HISTORIES: Final = {
    (which, newest): History(
        "message",
        messages,
        MESSAGE_COLUMNS,
        Message,
        or_(_ROLE.is_(None), messages.c.role == _ROLE),
        is_among,
        extra=[_COMPACTIONS],
        first=_BOUNDARY if which == "active" else None,
        newest=newest,
    )
    for which, is_among in _IS_AMONG.items()
    for newest in (True, False)
}

_wanted_id = func.coalesce(
    bindparam("message", type_=Text()), session_heads.c.active_message_id
)
_ONE: Final = literal_column("1", BigInteger)
# A parent is always older, so that a chain ends whatever an import may have left.
_chain = (
    select(
        messages.c.session_key,
        messages.c.seq,
        messages.c.parent_id,
        cast(_ONE, BigInteger).label("place"),
    )
    .join(sessions, sessions.c.session_key == messages.c.session_key)
    .join(session_heads, session_heads.c.session_key == messages.c.session_key)
    .where(SESSION_IS, messages.c.id == _wanted_id)
    .cte("chain", recursive=True)
)
_parent = messages.alias("parent")
_chain = _chain.union_all(
    select(
        _parent.c.session_key, _parent.c.seq, _parent.c.parent_id, _chain.c.place + _ONE
    ).join(
        _chain,
        and_(
            _parent.c.session_key == _chain.c.session_key,
            _parent.c.id == _chain.c.parent_id,
            _parent.c.seq < _chain.c.seq,
            _chain.c.place < bindparam("count", type_=BigInteger),
        ),
    )
)
_BRANCH: Final = BoundedQuery(
    MESSAGE.join(
        _chain,
        and_(
            _chain.c.session_key == messages.c.session_key,
            _chain.c.seq == messages.c.seq,
        ),
    ).order_by(messages.c.seq),
    Message,
    extra=[SOURCES_COUNT, _COMPACTIONS],
)
ACTIVE_ID: Final = (
    select(session_heads.c.active_message_id)
    .join(sessions, sessions.c.session_key == session_heads.c.session_key)
    .where(SESSION_IS)
)
