"""``store.messages``: the conversation of each session."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Unpack

from turnstore.engine.backend import Backend
from turnstore.errors import InvalidArgument, MessageNotFound
from turnstore.options import StoreOptions
from turnstore.records import Compaction, Json, Message, NewMessage, Role, Usage
from turnstore.sql import codec
from turnstore.store.messages.arguments import (
    MESSAGE_BYTES,
    MessageFields,
    append_messages,
    check_role,
    message_bytes,
    message_row,
)
from turnstore.store.messages.compaction import Compact, Uncompact
from turnstore.store.messages.context import (
    context_single_statement,
    context_snapshot,
)
from turnstore.store.messages.reads import (
    Branch,
    Range,
    branch_single_statement,
    branch_snapshot,
    list_single_statement,
    list_snapshot,
)
from turnstore.store.messages.recent import texts_single_statement, texts_snapshot
from turnstore.store.messages.writes import SetActive
from turnstore.store.signatures import takes

MessageList = list[Message]


class Messages:
    """The messages of every session. Reach it as ``store.messages``.

    Those of a session are numbered by ``seq`` from 1 in the order of their commits;
    no number is used again. Each has a parent, the *active* message when it was
    appended unless another is given; so they form branches.

    ``SessionStore`` says what holds for every call: cancellation, further errors.
    """

    def __init__(self, backend: Backend, options: StoreOptions) -> None:
        self._backend = backend
        self._bytes_max = options.payload_bytes_max

    @takes(MessageFields, {})
    async def append(
        self,
        session_id: str,
        role: Role | str,
        content: Json = None,
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[MessageFields],
    ) -> Message:
        """Append one message and return it, once it is committed.

        It becomes the session's active message.

        :param content: text or JSON, at most ``payload_bytes_max`` bytes encoded.
        :param id: 1 to 255 characters, unique in its session; None makes one.
        :param tool_calls: in chat format, a list of objects, with as many bytes.
        :param usage: of the model call that made it, one unless ``api_calls`` says
            otherwise; added to the session's totals and kept in the usage ledger.
        :param model: becomes the session's ``last_model``.
        :param parent_id: a message of the session; None takes the active one.
        :param created_at: timezone-aware; None takes the time of the commit.
        :param idempotency_key: 1 to 255 characters. A key that the session's messages
            have seen returns the first call's message and writes nothing, whatever
            else is given; where that message was purged: InvalidArgument.
        :raises SessionNotFound, MessageExists, MessageNotFound (the parent),
            PayloadInvalid, PayloadTooLarge, InvalidArgument: nothing was written.
        """
        given = NewMessage(role=role, content=content, **fields)
        row = message_row(given, self._bytes_max)
        own_ids = () if given.id is None else (row.id,)
        [message] = await self._backend.write(
            append_messages(session_id, [row], own_ids, idempotency_key)
        )
        return message

    async def append_many(
        self, session_id: str, messages: Iterable[NewMessage]
    ) -> list[Message]:
        """Append messages in the given order, all or none; return them.

        Their numbers are consecutive. Each one's parent is the one before unless it
        names another, of the session or before it in the list. The bounds are those of
        ``append``, for each. No messages: returns [].

        :raises SessionNotFound, MessageExists, MessageNotFound, PayloadInvalid,
            PayloadTooLarge, InvalidArgument: nothing was written.
        """
        several = codec.check_several(messages, "messages")
        rows = [message_row(each, self._bytes_max) for each in several]
        own_ids = [
            row.id
            for row, each in zip(rows, several, strict=True)
            if each.id is not None
        ]
        return await self._backend.write(append_messages(session_id, rows, own_ids))

    async def branch(
        self,
        session_id: str,
        message_id: str | None = None,
        *,
        last: int | None = None,
    ) -> list[Message]:
        """Return the messages from the root to one of them, along ``parent_id``.

        Archived ones too, from one snapshot. It begins after a parent that was purged,
        or deleted by ``uncompact``.

        :param message_id: None takes the active message; with none active, or one that
            was purged: [].
        :param last: the newest so many of them, 1 or more, oldest first.
        :raises SessionNotFound, MessageNotFound, InvalidArgument: no such session or
            message, or a value is out of bounds.

        Cost: the messages returned; of a fork its whole history.
        """
        if message_id is not None:
            message_id = codec.check_id(message_id, "message_id")
        name = codec.check_id(session_id, "session_id")
        count = codec.INTEGER_MAX
        if last is not None:
            count = codec.check_integer(last, "last", 1)
        wanted = Branch(session_id=name, message_id=message_id, count=count)
        found = await self._backend.read_single_statement(
            partial(branch_single_statement, wanted=wanted),
            partial(branch_snapshot, wanted=wanted),
        )
        if not found and message_id is not None:
            raise MessageNotFound(name, message_id)
        return found

    async def set_active(self, session_id: str, message_id: str | None) -> None:
        """Make a message the active one: the parent of the next. None: there is none.

        :raises SessionNotFound, MessageNotFound, InvalidArgument: nothing was written.
        """
        if message_id is not None:
            message_id = codec.check_id(message_id, "message_id")
        await self._backend.write(
            SetActive(
                codec.check_id(session_id, "session_id"), MESSAGE_BYTES, message_id
            )
        )

    async def last(self, session_id: str, role: Role | str) -> Message | None:
        """Return the newest message of a role, by ``seq``, None when there is none.

        Archived ones count, summaries made by a compaction don't.

        :raises SessionNotFound, InvalidArgument: no such session or role.

        Cost: the messages after it.
        """
        found = await self._list(
            Range(
                session_id=codec.check_id(session_id, "session_id"),
                count=1,
                newest=True,
                role=check_role(role),
                which="spoken",
            )
        )
        return found[0] if found else None

    async def recent_user(
        self, limit: int, *, project_root: str | None = None
    ) -> list[str]:
        """Return the texts of the newest user messages of all sessions, newest first.

        By ``created_at``, as there is no other order across sessions. Archived ones
        too. Messages without text (none, empty, or JSON) are passed over, and so is
        one that agrees with a newer one in id, time and text: what forks were given
        when their parent's was deleted. Of several at one time, those of the session
        that was stored later come first, then the later ones.

        :param limit: 1 or more.
        :param project_root: only of sessions with this one.
        :raises InvalidArgument: a value is out of bounds.

        Cost: the user messages passed over to find so many.
        """
        count = codec.check_integer(limit, "limit", 1)
        root = codec.check_text_or_none(project_root, "project_root")
        return await self._backend.read_single_statement(
            partial(texts_single_statement, count=count, root=root),
            partial(texts_snapshot, count=count, root=root),
        )

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
        :param include_compacted: archived ones too.
        :raises SessionNotFound, InvalidArgument: no such session, or a value is out of
            bounds.

        Cost: the messages read, with ``role`` those passed over too; of more than
        2,048 the first ones twice.
        """
        if limit is not None and last is not None:
            raise InvalidArgument("give either limit or last")
        name, count = ("limit", limit) if last is None else ("last", last)
        return await self._list(
            Range(
                session_id=codec.check_id(session_id, "session_id"),
                after=codec.check_integer(after, "after", 0),
                before=codec.INTEGER_MAX
                if before is None
                else codec.check_integer(before, "before", 0),
                count=None if count is None else codec.check_integer(count, name, 1),
                newest=last is not None,
                role=None if role is None else check_role(role),
                which="all"
                if codec.check_flag(include_compacted, "include_compacted")
                else "active",
            )
        )

    async def context(
        self, session_id: str, *, message_id: str | None = None
    ) -> MessageList:
        """Return what a model may be sent: a branch, with its calls and results paired.

        First the summary of the latest compaction, on whatever branch it was made, then
        the branch from the root to the active message without what is archived. With
        none active there is no branch.

        Calls are the entries of ``tool_calls`` and the blocks ``tool_use`` of an
        assistant. Results are messages of role tool, and the blocks ``tool_result`` of
        a user. They are paired by position, as providers repeat ids: a result belongs
        to the first unanswered call with its id in the latest message before it that
        has one.

        - The results follow directly after the message that has their calls, in the
          order of the calls, in the form of the calls. Blocks are in one user's
          message, before what else it says. Nothing else changes its order; so a
          message whose results move away from its text comes in two parts, both with
          its id and ``seq``.
        - A call that no message answers is answered from its tool call, one of the
          session with the same ``message_id`` and ``call_id`` (or, without one, id),
          once it has ended. The text is its ``output``, else its ``result`` as JSON,
          else its ``error``. The message has the tool call's id, the asking message's
          ``seq``, and the time at which the call ended.
        - Left out are other calls without a result, results without their call, and
          messages of an unknown role. The text of a message stays; a message left with
          neither text nor calls goes.

        All from one snapshot. No message that is stored changes.

        :param message_id: the last message of the branch; None takes the active one.
        :raises SessionNotFound, MessageNotFound, InvalidArgument: no such session or
            message.

        Cost: the active messages of all branches, however many are archived. Where tool
        calls answer, these are read twice.
        """
        if message_id is not None:
            message_id = codec.check_id(message_id, "message_id")
        name = codec.check_id(session_id, "session_id")
        return await self._backend.read_single_statement(
            partial(context_single_statement, session_id=name, message_id=message_id),
            partial(context_snapshot, session_id=name, message_id=message_id),
        )

    async def compact(
        self,
        session_id: str,
        summary: str,
        *,
        preserve: int = 4,
        usage: Usage | None = None,
        model: str | None = None,
    ) -> Compaction:
        """Archive all but the last messages of a context, and add a summary of them.

        The context is that of the active message. Its first messages are archived, and
        what is older than the last of these on other branches. The summary is a message
        of role system with a ``seq`` of its own; in ``context`` it comes first, in
        ``list`` where its seq is. An earlier summary is archived. The active message
        stays the one it was. One transaction.

        :param summary: text that is not blank, at most ``payload_bytes_max`` bytes
            encoded.
        :param preserve: messages that stay, 0 or more. More stay where a call would be
            split from its result, in ``tool_calls`` or in blocks, on any branch. When
            that leaves nothing to archive, nothing is written and ``archived`` is 0.
        :param usage: of the model call that wrote the summary; added to the session's
            totals and to the ledger.
        :param model: that wrote it; becomes the session's ``last_model``.
        :raises PendingToolCalls: tool calls are open; nothing was written.
        :raises SessionNotFound, PayloadInvalid, PayloadTooLarge, InvalidArgument:
            nothing was written.

        Cost: the active messages of all branches, without their content unless it has
        blocks of tools.
        """
        text = codec.check_string(summary, "summary")
        if not text.strip():
            raise InvalidArgument("summary must be text that is not blank")
        row = message_row(
            NewMessage(role=Role.SYSTEM, content=text, usage=usage, model=model),
            self._bytes_max,
        )
        return await self._backend.write(
            Compact(
                codec.check_id(session_id, "session_id"),
                message_bytes(row),
                row,
                codec.check_integer(preserve, "preserve", 0),
            )
        )

    async def uncompact(self, session_id: str) -> Compaction | None:
        """Take the last compaction back and return it; None when there is none.

        Its summary is deleted, and what it archived is active again. Its usage stays
        counted. Where the summary was the active message none is then; messages that
        have it as parent keep its id. Where ``last_model`` is the summary's, it becomes
        that of the last message or last event, by ``seq``, that names one: of the two
        the one with the later ``created_at``, at one time the event. One transaction.

        :raises SessionNotFound: no such session.
        :raises InvalidArgument: what it archived was purged, or this can't be an id;
            nothing was written.

        Cost: where the session is a fork or was forked, what the two share, which is
        copied. Where ``last_model`` is the summary's, messages and events are passed
        over back to the newest that names one: all of them where none does.
        """
        return await self._backend.write(
            Uncompact(codec.check_id(session_id, "session_id"), MESSAGE_BYTES)
        )

    async def _list(self, wanted: Range) -> MessageList:
        return await self._backend.read_single_statement(
            partial(list_single_statement, wanted=wanted),
            partial(list_snapshot, wanted=wanted),
        )
