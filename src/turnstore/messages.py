"""``store.messages``: the conversation of each session."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import partial
from typing import Final

import msgspec
from sqlalchemy import Connection, and_, bindparam, func, literal_column, or_, select

from turnstore import _codec
from turnstore._heads import require_session
from turnstore._message_writes import AppendMessages, MessageRow
from turnstore._rows import Query
from turnstore._selects import MESSAGE, SESSION_IS
from turnstore._session_writes import UpdateSession
from turnstore.backends.base import Backend
from turnstore.errors import InvalidArgument, MessageNotFound, PayloadInvalid
from turnstore.options import StoreOptions
from turnstore.records import Json, Message, NewMessage, Role, Usage
from turnstore.schema import messages, session_heads, sessions

USAGE_MAX: Final = 10**12
"""Bound on each count of a ``Usage``, so that no total overflows."""
ROW_BYTES: Final = 300
"""About what a message takes beside its payloads, for the bound on a batch."""


class Messages:
    """The messages of every session. Reach it as ``store.messages``."""

    def __init__(self, backend: Backend, options: StoreOptions) -> None:
        self._backend = backend
        self._bytes_max = options.payload_bytes_max

    async def append(
        self,
        session_id: str,
        role: Role | str,
        content: Json = None,
        *,
        id: str | None = None,
        tool_calls: Json = None,
        tool_call_id: str | None = None,
        name: str | None = None,
        usage: Usage | None = None,
        agent_name: str | None = None,
        model: str | None = None,
        parent_id: str | None = None,
        created_at: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> Message:
        """Append one message and return it, once it is committed.

        It becomes the session's active message. Calls for one session keep their
        order, also when gathered. Concurrent calls share a commit.

        :param content: text or JSON, at most ``payload_bytes_max`` bytes encoded.
        :param id: 1 to 255 characters, unique in its session; None makes one.
        :param tool_calls: in chat format, a list of objects.
        :param usage: each count at most 10**12; added to the session's totals and
            kept in the usage ledger.
        :param parent_id: a message of the session; None takes the active one.
        :param created_at: timezone-aware; None takes the time of the commit.
        :param idempotency_key: 1 to 255 characters. A key that the session has seen
            returns the first call's message and writes nothing.
        :raises SessionNotFound, MessageExists, MessageNotFound (the parent),
            PayloadInvalid, PayloadTooLarge, InvalidArgument, QueueFull,
            BackendError: nothing was written.

        If it raises a cancellation, nothing was written; once the commit is under
        way the call returns its result, and the cancellation comes at the caller's
        next await.
        """
        row = self._row(
            NewMessage(
                role=role,
                content=content,
                id=id,
                tool_calls=tool_calls,
                tool_call_id=tool_call_id,
                name=name,
                usage=usage,
                agent_name=agent_name,
                model=model,
                parent_id=parent_id,
                created_at=created_at,
            )
        )
        key = idempotency_key
        [message] = await self._backend.write(
            AppendMessages(
                _codec.check_id(session_id, "session_id"),
                _size_bytes(row),
                (row,),
                None if key is None else _codec.check_id(key, "idempotency_key"),
            )
        )
        return message

    async def append_many(
        self, session_id: str, messages: Iterable[NewMessage]
    ) -> list[Message]:
        """Append messages in the given order, all or none; return them.

        Each one's parent is the one before unless it says otherwise. Errors,
        cancellation and the rest as ``append``. No messages: returns [].

        :raises SessionNotFound, MessageExists, MessageNotFound, PayloadInvalid,
            PayloadTooLarge, InvalidArgument, QueueFull, BackendError: nothing was
            written.
        """
        try:
            rows = [self._row(each) for each in list(messages)]
        except TypeError as error:
            raise InvalidArgument("messages must be several: give a list") from error
        return await self._backend.write(
            AppendMessages(
                _codec.check_id(session_id, "session_id"),
                sum(map(_size_bytes, rows)),
                rows,
            )
        )

    async def branch(
        self, session_id: str, message_id: str | None = None
    ) -> list[Message]:
        """Return the messages from the root to one of them, along ``parent_id``.

        :param message_id: None takes the active message; with none active: [].
        :raises SessionNotFound, MessageNotFound, InvalidArgument: no such session or
            message.
        """
        if message_id is not None:
            _codec.check_id(message_id, "message_id")
        work = partial(
            _branch,
            session_id=_codec.check_id(session_id, "session_id"),
            message_id=message_id,
        )
        return await self._backend.read(work)

    async def set_active(self, session_id: str, message_id: str | None) -> None:
        """Make a message the one that the next append follows; None: none.

        :raises SessionNotFound, MessageNotFound, InvalidArgument, QueueFull,
            BackendError: nothing was written.

        Cancellation: as ``append``.
        """
        if message_id is not None:
            _codec.check_id(message_id, "message_id")
        await self._backend.write(
            UpdateSession(
                _codec.check_id(session_id, "session_id"),
                ROW_BYTES,
                {},
                active_message_id=message_id,
            )
        )

    async def last(self, session_id: str, role: Role | str) -> Message | None:
        """Return the newest message of a role, None when there is none.

        Summaries made by a compaction don't count.

        :raises SessionNotFound, InvalidArgument: no such session or role.
        """
        work = partial(
            _last,
            session_id=_codec.check_id(session_id, "session_id"),
            role=check_role(role),
        )
        return await self._backend.read(work)

    async def recent_user(
        self, limit: int, *, project_root: str | None = None
    ) -> list[str]:
        """Return the texts of the newest user messages of all sessions, newest first.

        By ``created_at``, as there is no other order across sessions.
        Messages without text (none, empty, or JSON) are passed over.

        :param project_root: only of sessions with this one.
        :raises InvalidArgument: the limit is less than 1.
        """
        work = partial(
            _recent_user,
            limit=_codec.check_integer(limit, "limit", 1),
            root=_codec.check_text_or_none(project_root, "project_root"),
        )
        return await self._backend.read(work)

    async def list(
        self,
        session_id: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        last: int | None = None,
        role: Role | str | None = None,
        include_compacted: bool = True,
    ) -> list[Message]:
        """Return messages by ``seq``, from one snapshot.

        :param after: exclusive; 0 means from the start.
        :param before: exclusive; None means to the end.
        :param limit: the oldest so many of them, 1 or more.
        :param last: the newest so many of them, 1 or more, oldest first; not together
            with ``limit``.
        :param role: only messages of this role.
        :raises SessionNotFound, InvalidArgument: no such session, or a value is out of
            bounds.

        Cost: the messages read, with ``role`` those passed over too; of more than
        2,048 the first ones twice.
        """
        if limit is not None and last is not None:
            raise InvalidArgument("give either limit or last")
        name, count = ("limit", limit) if last is None else ("last", last)
        work = partial(
            _list,
            session_id=_codec.check_id(session_id, "session_id"),
            after=_codec.check_integer(after, "after", 0),
            before=_codec.INTEGER_MAX
            if before is None
            else _codec.check_integer(before, "before", 0),
            count=None if count is None else _codec.check_integer(count, name, 1),
            newest=last is not None,
            role=None if role is None else check_role(role),
            compacted=None if include_compacted else 0,
        )
        found = await self._backend.read(partial(work, steps_max=1))
        if found is None:
            found = await self._backend.read(work, snapshot=True)
        return found or []

    def _row(self, given: NewMessage) -> MessageRow:
        if not isinstance(given, NewMessage):
            raise InvalidArgument(
                f"messages must be NewMessage records, got {type(given).__name__}"
            )
        calls = given.tool_calls
        if calls is not None and not (
            isinstance(calls, list | tuple)
            and all(isinstance(each, dict) for each in calls)
        ):
            raise PayloadInvalid("tool_calls must be a list of objects")
        text = _codec.check_text_or_none
        return MessageRow(
            id=_codec.new_id() if given.id is None else _codec.check_id(given.id, "id"),
            is_own_id=given.id is not None,
            role=check_role(given.role),
            content=_codec.encode_or_none(given.content, self._bytes_max),
            tool_calls=_codec.encode_or_none(calls, self._bytes_max),
            tool_call_id=text(given.tool_call_id, "tool_call_id"),
            name=text(given.name, "name"),
            agent_name=text(given.agent_name, "agent_name"),
            model=text(given.model, "model"),
            parent_id=None
            if given.parent_id is None
            else _codec.check_id(given.parent_id, "parent_id"),
            usage=None if given.usage is None else check_usage(given.usage),
            created_at=_codec.micros_or_none(given.created_at, "created_at"),
        )


def check_role(role: object) -> str:
    """Return a role that can be written."""
    known = ("system", "user", "assistant", "tool")
    if role not in known:
        raise InvalidArgument(f"role must be one of {', '.join(known)}, got {role!r}")
    return str(role)


def check_usage(usage: object) -> Usage:
    if not isinstance(usage, Usage):
        raise InvalidArgument(f"usage must be a Usage, got {type(usage).__name__}")
    for name, count in msgspec.structs.asdict(usage).items():
        _codec.check_integer(count, f"usage.{name}", 0, USAGE_MAX)
    return usage


def _size_bytes(row: MessageRow) -> int:
    return ROW_BYTES + len(row.content or "") + len(row.tool_calls or "")


def _list(
    connection: Connection,
    session_id: str,
    after: int,
    before: int,
    count: int | None,
    newest: bool,
    role: str | None,
    compacted: int | None,
    steps_max: int | None = None,
) -> list[Message] | None:
    query = _NEWEST if newest else _OLDEST
    found = query.in_chunks(
        connection,
        count,
        steps_max=steps_max,
        cursor="before" if newest else "after",
        session=session_id,
        after=after,
        before=before,
        role=role,
        compacted=compacted,
    )
    if found == []:
        require_session(connection, session_id)
    return found[::-1] if found and newest else found


def _last(connection: Connection, session_id: str, role: str) -> Message | None:
    found = _LAST.one(connection, session=session_id, role=role)
    if found is None:
        require_session(connection, session_id)
    return found


def _branch(
    connection: Connection, session_id: str, message_id: str | None
) -> list[Message]:
    found = _BRANCH(connection, session=session_id, message=message_id)
    if not found:
        require_session(connection, session_id)
        if message_id is not None:
            raise MessageNotFound(session_id, message_id)
    return found


def _recent_user(connection: Connection, limit: int, root: str | None) -> list[str]:
    found = _RECENT_USER(connection, limit=limit, root=root)
    return [each.content for each in found]


class _Text(msgspec.Struct):
    content: str


_SELECT: Final = MESSAGE.where(
    SESSION_IS,
    messages.c.seq > bindparam("after"),
    messages.c.seq < bindparam("before"),
    or_(bindparam("role").is_(None), messages.c.role == bindparam("role")),
).limit(bindparam("limit"))
_OLDEST: Final = Query(_SELECT.order_by(messages.c.seq), Message)
_NEWEST: Final = Query(_SELECT.order_by(messages.c.seq.desc()), Message)
_LAST: Final = Query(
    MESSAGE.where(
        SESSION_IS,
        messages.c.role == bindparam("role"),
        messages.c.summary_of.is_(None),
    )
    .order_by(messages.c.seq.desc())
    .limit(1),
    Message,
)
# Text as encoded JSON starts with a quote, and is more than the two of empty text.
_RECENT_USER: Final = Query(
    select(messages.c.content)
    .join(sessions, sessions.c.session_key == messages.c.session_key)
    .where(
        messages.c.role == literal_column("'user'"),
        messages.c.content >= literal_column("'\"'"),
        messages.c.content < literal_column("'#'"),
        messages.c.content != literal_column("'\"\"'"),
        or_(bindparam("root").is_(None), sessions.c.project_root == bindparam("root")),
    )
    .order_by(
        messages.c.created_at.desc(),
        messages.c.session_key.desc(),
        messages.c.seq.desc(),
    )
    .limit(bindparam("limit")),
    _Text,
)

# A parent is always older, so that a chain ends whatever an import may have left.
_chain = (
    select(messages.c.session_key, messages.c.seq, messages.c.parent_id)
    .join(sessions, sessions.c.session_key == messages.c.session_key)
    .join(session_heads, session_heads.c.session_key == messages.c.session_key)
    .where(
        SESSION_IS,
        messages.c.id
        == func.coalesce(bindparam("message"), session_heads.c.active_message_id),
    )
    .cte("chain", recursive=True)
)
_parent = messages.alias("parent")
_chain = _chain.union_all(
    select(_parent.c.session_key, _parent.c.seq, _parent.c.parent_id).join(
        _chain,
        and_(
            _parent.c.session_key == _chain.c.session_key,
            _parent.c.id == _chain.c.parent_id,
            _parent.c.seq < _chain.c.seq,
        ),
    )
)
_BRANCH: Final = Query(
    MESSAGE.join(
        _chain,
        and_(
            _chain.c.session_key == messages.c.session_key,
            _chain.c.seq == messages.c.seq,
        ),
    ).order_by(messages.c.seq),
    Message,
)
