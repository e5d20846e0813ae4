"""The commands that append messages and choose the active one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection, and_, bindparam, select, union_all

from turnstore.engine.commands import Command, Outcome, runs
from turnstore.errors import (
    InvalidArgument,
    MessageExists,
    MessageNotFound,
    SessionNotFound,
)
from turnstore.records import Message, Role, Usage
from turnstore.sql import codec
from turnstore.sql.bounded import BoundedQuery
from turnstore.sql.bulk import Insert, pairs
from turnstore.sql.query import Query
from turnstore.sql.schema import fork_sources, messages, session_heads
from turnstore.store import idempotency
from turnstore.store.heads import Head, Heads, save_models
from turnstore.store.history import shown
from turnstore.store.ledger import Ledger, UsageHead
from turnstore.store.messages.reads import marked, read_compactions
from turnstore.store.selects import MESSAGE

MessageKey = tuple[int, str]
"""Session key and message id."""


class MessageRow(msgspec.Struct, gc=False, kw_only=True):
    """A row of ``messages``, checked and encoded.

    The commit numbers it, and fills in a parent and a time that are None.

    :param summary_of: the compaction that it is a summary of. A summary takes no part
        in the tree of messages.
    """

    session_key: int = 0
    seq: int = 0
    id: str
    role: str
    content: str | None = None
    tool_calls: str | None = None
    tool_call_id: str | None = None
    name: str | None = None
    agent_name: str | None = None
    model: str | None = None
    parent_id: str | None = None
    usage: str | None = None
    created_at: int | None = None
    summary_of: int | None = None


class MessageHead(UsageHead):
    message_head: int
    message_count: int
    active_message_id: str | None
    last_model: str | None


class _ActiveHead(Head):
    active_message_id: str | None


class AppendMessages(Command[list[Message]], frozen=True):
    """Appends messages to one session; the result is their records.

    :param own_ids: those that the caller gave. Ids that the store has made are new, and
        are not looked for.
    """

    is_locking: ClassVar[bool] = True
    rows: Sequence[MessageRow]
    own_ids: frozenset[str] = frozenset()
    idempotency_key: str | None = None

    def after_lost_commit(self, outcome: Outcome) -> AppendMessages | None:
        return None if self.idempotency_key is None else self

    @staticmethod
    def apply(
        connection: Connection, commands: Sequence[AppendMessages]
    ) -> list[Outcome]:
        heads = _HEADS.load(connection, {each.session_id for each in commands})
        batch = _Batch(
            connection,
            {name: head.session_key for name, head in heads.items()},
            commands,
        )
        outcomes: list[Outcome] = []
        changed: dict[int, MessageHead] = {}
        for command in commands:
            head = heads.get(command.session_id)
            if head is None:
                outcomes.append(SessionNotFound(command.session_id))
                continue
            seq = batch.replayed(command, head.session_key)
            if seq is not None:
                outcomes.append(seq)
                continue
            fault = batch.fault(command, head.session_key)
            if fault is not None:
                outcomes.append(fault)
                continue
            outcomes.append(batch.append(command, head))
            if command.rows:
                changed[head.session_key] = head
        batch.insert(connection)
        _HEADS.save(connection, changed.values(), batch.now)
        return [
            _replay(connection, command.session_id, heads[command.session_id], outcome)
            if isinstance(outcome, int)
            else outcome
            for command, outcome in zip(commands, outcomes, strict=True)
        ]


class _Batch:
    """The rows that a run of commands adds, and what they are checked against."""

    def __init__(
        self,
        connection: Connection,
        keys: Mapping[str, int],
        commands: Sequence[AppendMessages],
    ) -> None:
        self.now = codec.now_micros()
        self._rows: list[MessageRow] = []
        self._ledger = Ledger()
        self._models: dict[int, str] = {}
        self._fresh: list[tuple[idempotency.KeyRef, int]] = []
        known = [each for each in commands if each.session_id in keys]
        self._written = idempotency.find(
            connection,
            "message",
            {
                (keys[each.session_id], each.idempotency_key)
                for each in known
                if each.idempotency_key is not None
            },
        )
        named = {
            (keys[each.session_id], name) for each in known for name in each.own_ids
        }
        parents = {
            (keys[each.session_id], row.parent_id)
            for each in known
            for row in each.rows
            if row.parent_id is not None
        }
        self._present = find_messages(connection, named | parents)

    def replayed(self, command: AppendMessages, key: int) -> int | None:
        """Return the seq that the command's idempotency key wrote before."""
        if command.idempotency_key is None:
            return None
        return self._written.get((key, command.idempotency_key))

    def fault(self, command: AppendMessages, key: int) -> Exception | None:
        """Say why a command can't be applied. Looks at all its rows before any is
        taken, so that one is all or nothing."""
        own: set[str] = set()
        for row in command.rows:
            if row.id in command.own_ids and (
                (key, row.id) in self._present or row.id in own
            ):
                return MessageExists(command.session_id, row.id)
            parent = row.parent_id
            if parent is not None and parent not in own:
                if (key, parent) not in self._present:
                    return MessageNotFound(command.session_id, parent)
            own.add(row.id)
        return None

    def append(self, command: AppendMessages, head: MessageHead) -> list[Message]:
        """Take a command's rows, counting on from the head."""
        key = head.session_key
        first = head.message_head + 1
        if command.idempotency_key is not None:
            place = (key, command.idempotency_key)
            self._written[place] = first
            self._fresh.append((place, first))
        return [self._take(command.session_id, row, head) for row in command.rows]

    def _take(self, session_id: str, given: MessageRow, head: MessageHead) -> Message:
        key = head.session_key
        head.message_head += 1
        head.message_count += 1
        parent_id = given.parent_id
        if given.summary_of is None:
            if parent_id is None:
                parent_id = head.active_message_id
            head.active_message_id = given.id
        created_at = self.now if given.created_at is None else given.created_at
        row = replace(
            given,
            session_key=key,
            seq=head.message_head,
            parent_id=parent_id,
            created_at=created_at,
        )
        self._rows.append(row)
        self._present[key, row.id] = row.seq
        if row.model is not None and row.model != head.last_model:
            head.last_model = self._models[key] = row.model
        message = _record(session_id, row)
        if message.usage is not None:
            self._ledger.add(
                head,
                message.usage,
                message_seq=row.seq,
                agent_name=row.agent_name,
                model=row.model,
                created_at=created_at,
            )
        return message

    def insert(self, connection: Connection) -> None:
        _INSERT(connection, self._rows)
        self._ledger.insert(connection)
        save_models(connection, self._models)
        idempotency.remember(connection, "message", self._fresh)


def _record(session_id: str, row: MessageRow) -> Message:
    assert row.created_at is not None  # the commit has given it
    return Message(
        id=row.id,
        session_id=session_id,
        seq=row.seq,
        role=Role(row.role),
        content=codec.decode(row.content),
        tool_calls=codec.decode(row.tool_calls),
        tool_call_id=row.tool_call_id,
        name=row.name,
        agent_name=row.agent_name,
        model=row.model,
        parent_id=row.parent_id,
        usage=None if row.usage is None else _decode_usage(row.usage),
        created_at=codec.from_micros(row.created_at),
        is_summary=row.summary_of is not None,
    )


class SetActive(Command[None], frozen=True):
    """Makes a message the parent of the next one; None makes the next one a root."""

    message_id: str | None

    @staticmethod
    def apply(connection: Connection, commands: Sequence[SetActive]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for run in runs(commands, lambda each: each.session_id):
            outcomes += _set_active(connection, run)
        return outcomes


def _set_active(connection: Connection, commands: Sequence[SetActive]) -> list[Outcome]:
    """Set the active messages of different sessions."""
    heads = _ACTIVE_HEADS.load(connection, {each.session_id for each in commands})
    present = find_messages(
        connection,
        {
            (heads[each.session_id].session_key, each.message_id)
            for each in commands
            if each.message_id is not None and each.session_id in heads
        },
    )
    outcomes: list[Outcome] = []
    changed: list[_ActiveHead] = []
    for command in commands:
        head = heads.get(command.session_id)
        wanted = command.message_id
        if head is None:
            outcomes.append(SessionNotFound(command.session_id))
        elif wanted is not None and (head.session_key, wanted) not in present:
            outcomes.append(MessageNotFound(command.session_id, wanted))
        else:
            head.active_message_id = wanted
            changed.append(head)
            outcomes.append(None)
    _ACTIVE_HEADS.save(connection, changed, codec.now_micros())
    return outcomes


class _Found(msgspec.Struct):
    session_key: int
    id: str
    seq: int


def find_messages(
    connection: Connection, places: set[MessageKey]
) -> dict[MessageKey, int]:
    """Return the seq of the message at each of the places where there is one."""
    if not places:
        return {}
    found = _FIND(connection, places=codec.pairs(places))
    return {(each.session_key, each.id): each.seq for each in found}


def _replay(
    connection: Connection, session_id: str, head: MessageHead, seq: int
) -> Outcome:
    """Return what the key's first call wrote, as ``list`` gives it now."""
    found = _AT_SEQ(connection, key=head.session_key, seq=seq)
    if not found:
        return InvalidArgument(
            "the message that this idempotency key wrote was purged: nothing was "
            "written"
        )
    return marked(found, read_compactions(connection, session_id))


_HEADS: Final = Heads(
    MessageHead,
    session_heads.c.message_head,
    session_heads.c.message_count,
    session_heads.c.active_message_id,
)
_ACTIVE_HEADS: Final = Heads(_ActiveHead, session_heads.c.active_message_id)
_INSERT: Final = Insert(messages, MessageRow)
_decode_usage: Final = msgspec.json.Decoder(Usage).decode
_places, _session_key, _id = pairs(bindparam("places"))
_FIND: Final = Query(
    union_all(
        select(messages.c.session_key, messages.c.id, messages.c.seq)
        .select_from(_places)
        .join(
            messages,
            and_(messages.c.session_key == _session_key, messages.c.id == _id),
        ),
        # What a fork shows of other sessions.
        select(fork_sources.c.session_key, messages.c.id, messages.c.seq)
        .select_from(_places)
        .join(fork_sources, fork_sources.c.session_key == _session_key)
        .join(
            messages,
            and_(shown(messages), messages.c.id == _id),
        ),
    ),
    _Found,
)
_AT_SEQ: Final = BoundedQuery(
    MESSAGE.where(
        messages.c.session_key == bindparam("key"), messages.c.seq == bindparam("seq")
    ),
    Message,
)
