"""What the user is asked: records with a value that the user gives.

Questions and settings differ in their fields alone; what is done with them is here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, Generic, TypeVar

import msgspec
from sqlalchemy import (
    Column,
    Connection,
    Select,
    Table,
    and_,
    bindparam,
    func,
    select,
)

from turnstore.engine.backend import Backend
from turnstore.engine.commands import Command, Outcome
from turnstore.errors import InvalidArgument, SessionNotFound, ToolCallNotFound
from turnstore.options import StoreOptions
from turnstore.records import Json
from turnstore.sql import codec
from turnstore.sql.bounded import BoundedQuery
from turnstore.sql.bulk import InsertValues, Update, is_in, pairs
from turnstore.sql.compiled import Value
from turnstore.sql.query import Guard, Query, object_of
from turnstore.sql.schema import sessions
from turnstore.store.heads import Head, Heads, of_session
from turnstore.store.selects import SESSION_IS
from turnstore.store.tool_calls.writes import find_statuses
from turnstore.values import is_a, type_name

R = TypeVar("R", bound=msgspec.Struct)
Records = list

ROW_BYTES: Final = 300


class InputTable(Generic[R]):
    """The statements of one table.

    :param record: its fields are columns of the table.
    :param name: the column that answers go by; not unique.
    :param value: what the user gives, NULL until then; ``answered_at`` is when.
    """

    def __init__(
        self,
        record: type[R],
        table: Table,
        *,
        name: Column[Any],
        value: Column[Any],
    ) -> None:
        self.record = record
        self.value = value.name
        self.fields = record.__struct_fields__
        columns = [table.c[each] for each in self.fields]
        key, seq = table.c.session_key, table.c.seq
        self.insert = InsertValues(table, key, seq, *columns)
        self.update = Update(table, [key, name], [value, table.c.answered_at])
        self.last = Query(
            select(key, func.max(seq).label("seq"))
            .where(is_in(key, bindparam("keys")))
            .group_by(key),
            _Last,
        )
        of_session = (
            select(*columns)
            .join(sessions, sessions.c.session_key == key)
            .where(SESSION_IS)
            .order_by(seq)
        )
        self.list = BoundedQuery(of_session, record)
        self.pending = BoundedQuery(of_session.where(value.is_(None)), record)
        places, at_key, at_seq = pairs(bindparam("places"), key.type, seq.type)

        def placed(guard: Guard) -> Select[Any]:
            whole = object_of({each.name: guard(each) for each in columns})
            found = select(key, seq, whole.label("record")).order_by(key, seq)
            return found.join(places, and_(key == at_key, seq == at_seq))

        self.at_places = BoundedQuery(
            placed,
            _Placed[record],  # type: ignore[valid-type]
        )
        names, of_key, of_name = pairs(bindparam("places"))
        self.counts = Query(
            select(key, name.label("name"), func.count().label("count"))
            .join(names, and_(key == of_key, name == of_name))
            .group_by(key, name),
            _Count,
        )


class UserInput(ABC, Generic[R]):
    """Records of every session that wait for the user, or no longer do."""

    form: ClassVar[InputTable[Any]]

    def __init__(self, backend: Backend, options: StoreOptions) -> None:
        self._backend = backend
        self._bytes_max = options.payload_bytes_max

    async def store(
        self, session_id: str, records: Iterable[R], tool_call_id: str | None = None
    ) -> Records[R]:
        """Store records in the given order, all or none; return them as stored.

        Ids may repeat. ``created_at`` None takes the time of the commit, and so does
        the time of a value that is there already.

        :param tool_call_id: the tool call that asks, for the records that name none.
        :raises SessionNotFound, ToolCallNotFound, PayloadInvalid, PayloadTooLarge,
            InvalidArgument, QueueFull, BackendError: nothing was written.

        If it raises a cancellation, nothing was written; once the commit is under
        way the call returns its result, and the cancellation comes at the caller's
        next await.
        """
        if tool_call_id is not None:
            tool_call_id = codec.check_id(tool_call_id, "tool_call_id")
        rows = [self._row(each, tool_call_id) for each in self._check(records)]
        return await self._backend.write(
            StoreInput(
                codec.check_id(session_id, "session_id"),
                sum(ROW_BYTES + _size_bytes(row.values()) for row in rows),
                self.form,
                rows,
            )
        )

    async def pending(self, session_id: str) -> Records[R]:
        """Return the records without a value yet, in order of storing.

        :raises SessionNotFound, InvalidArgument: no such session, or this can't be an
            id.
        """
        return await self._read(self.form.pending, session_id)

    async def answer(self, session_id: str, answers: Mapping[str, Json]) -> int:
        """Give values by id, all or none; return how many records took one.

        Every record of the session with that id takes it, in place of an earlier one.
        Its ``answered_at`` is the time of the commit. None takes a value back, with its
        time. Unknown ids are passed over.

        :raises SessionNotFound, PayloadInvalid, PayloadTooLarge, InvalidArgument,
            QueueFull, BackendError: nothing was written.

        Cancellation: as ``store``.
        """
        values = {
            codec.check_id(name, "id"): self._encode(value, name)
            for name, value in codec.check_mapping(answers, "answers")
        }
        return await self._backend.write(
            AnswerInput(
                codec.check_id(session_id, "session_id"),
                ROW_BYTES + _size_bytes(values.values()),
                self.form,
                values,
            )
        )

    async def list(self, session_id: str) -> Records[R]:
        """Return all records of a session, in order of storing.

        :raises SessionNotFound, InvalidArgument: no such session, or this can't be an
            id.
        """
        return await self._read(self.form.list, session_id)

    @abstractmethod
    def _values(self, given: R) -> dict[str, Value]:
        """Return the fields of a record as columns, checked and encoded, but for those
        that every form has."""

    def _encode(self, value: Json, name: str) -> str | None:
        """Return a value that is given under this id, encoded."""
        return self._json(value)

    def _json(self, value: Json) -> str | None:
        return codec.encode_or_none(value, self._bytes_max)

    def _text(self, value: str, name: str) -> str:
        return codec.encode(codec.check_free_text(value, name), self._bytes_max)

    def _text_or_none(self, value: str | None, name: str) -> str | None:
        return None if value is None else self._text(value, name)

    def _row(self, given: Any, tool_call_id: str | None) -> dict[str, Value]:
        if given.tool_call_id is not None:
            tool_call_id = codec.check_id(given.tool_call_id, "tool_call_id")
        times = {
            each: codec.to_micros_or_none(getattr(given, each), each)
            for each in ("created_at", "answered_at")
        }
        return {**self._values(given), "tool_call_id": tool_call_id, **times}

    def _check(self, records: Iterable[R]) -> Records[R]:
        kind = self.form.record
        several = codec.check_several(records, "records")
        for each in several:
            if not is_a(each, kind):
                raise InvalidArgument(
                    f"records must be {kind.__name__}s, got {type_name(each)}"
                )
        return several

    async def _read(self, query: BoundedQuery[R], session_id: str) -> Records[R]:
        name = codec.check_id(session_id, "session_id")
        return await self._backend.read_single_statement(
            lambda connection: _read_single_statement(connection, query, name),
            lambda connection: _read_snapshot(connection, query, name),
        )


class StoreInput(Command[list[Any]], frozen=True):
    """Stores records of one session; the result is what was stored.

    :param rows: values by column. Times that are None are those of the commit.
    """

    form: InputTable[Any]
    rows: Sequence[Mapping[str, Value]]

    @staticmethod
    def apply(connection: Connection, commands: Sequence[StoreInput]) -> list[Outcome]:
        return _apart(connection, commands, _store)


class AnswerInput(Command[int], frozen=True):
    """Gives values to records of one session; the result is how many took one.

    :param values: encoded, by id.
    """

    form: InputTable[Any]
    values: Mapping[str, str | None]

    @staticmethod
    def apply(connection: Connection, commands: Sequence[AnswerInput]) -> list[Outcome]:
        return _apart(connection, commands, _answer)


class _Placed(msgspec.Struct, Generic[R]):
    session_key: int
    seq: int
    record: R


class _Last(msgspec.Struct):
    session_key: int
    seq: int


class _Count(msgspec.Struct):
    session_key: int
    name: str
    count: int


def _apart(
    connection: Connection, commands: Sequence[Any], work: Callable[..., list[Outcome]]
) -> list[Outcome]:
    """Apply the commands of each table together."""
    outcomes: list[Outcome] = [None] * len(commands)
    for form in {each.form for each in commands}:
        places = [at for at, each in enumerate(commands) if each.form is form]
        found = work(connection, form, [commands[at] for at in places])
        for at, outcome in zip(places, found, strict=True):
            outcomes[at] = outcome
    return outcomes


def _store(
    connection: Connection, form: InputTable[Any], commands: Sequence[StoreInput]
) -> list[Outcome]:
    now = codec.now_micros()
    heads = _HEADS.load(connection, {each.session_id for each in commands})
    keys = {name: head.session_key for name, head in heads.items()}
    calls = find_statuses(
        connection,
        {
            (keys[each.session_id], str(row["tool_call_id"]))
            for each in commands
            for row in each.rows
            if each.session_id in keys and row["tool_call_id"] is not None
        },
    )
    last = form.last(connection, keys=codec.array(keys.values()))
    seqs = {each.session_key: each.seq for each in last}
    faults: list[Exception | None] = []
    rows: list[list[Value]] = []
    for command in commands:
        fault = _error_of(command, keys, calls)
        faults.append(fault)
        if fault is None:
            key = keys[command.session_id]
            for row in command.rows:
                seqs[key] = seqs.get(key, 0) + 1
                rows.append([key, seqs[key], *_stamped(form, row, now)])
    form.insert(connection, rows)
    changed = {row[0] for row in rows}
    _HEADS.save(
        connection,
        [each for each in heads.values() if each.session_key in changed],
        now,
    )
    made = _at_places(connection, form, rows)
    return [
        [next(made) for _ in command.rows] if fault is None else fault
        for command, fault in zip(commands, faults, strict=True)
    ]


def _at_places(
    connection: Connection, form: InputTable[Any], rows: Sequence[Sequence[Value]]
) -> Iterator[Any]:
    """Return what rows were stored as, in their order."""
    places: list[Any] = [(row[0], row[1]) for row in rows]
    found = form.at_places(connection, len(places), places=codec.pairs(places))
    records: dict[Any, Any] = {(each.session_key, each.seq): each for each in found}
    return (records[place].record for place in places)


def _error_of(
    command: StoreInput, keys: Mapping[str, int], calls: Mapping[tuple[int, str], str]
) -> Exception | None:
    """Say why records can't be stored."""
    key = keys.get(command.session_id)
    if key is None:
        return SessionNotFound(command.session_id)
    for row in command.rows:
        call = row["tool_call_id"]
        if call is not None and (key, call) not in calls:
            return ToolCallNotFound(command.session_id, str(call))
    return None


def _stamped(
    form: InputTable[Any], given: Mapping[str, Value], now: int
) -> Iterator[Value]:
    """Return a record's columns in the order of its fields, with its times."""
    times: dict[str, Value] = {"created_at": now}
    if given[form.value] is not None:
        times["answered_at"] = now
    for name in form.fields:
        value = given[name]
        yield times.get(name) if value is None else value


def _answer(
    connection: Connection, form: InputTable[Any], commands: Sequence[AnswerInput]
) -> list[Outcome]:
    now = codec.now_micros()
    heads = _HEADS.load(connection, {each.session_id for each in commands})
    values = {
        (heads[each.session_id].session_key, name): value
        for each in commands
        if each.session_id in heads
        for name, value in each.values.items()
    }
    found = form.counts(connection, places=codec.pairs(values))
    counts = {(each.session_key, each.name): each.count for each in found}
    form.update(
        connection,
        [
            [*place, values[place], None if values[place] is None else now]
            for place in counts
        ],
    )
    changed = {key for key, _ in counts}
    _HEADS.save(
        connection,
        [each for each in heads.values() if each.session_key in changed],
        now,
    )
    return [
        sum(
            counts.get((heads[each.session_id].session_key, name), 0)
            for name in each.values
        )
        if each.session_id in heads
        else SessionNotFound(each.session_id)
        for each in commands
    ]


def _read_single_statement(
    connection: Connection, query: BoundedQuery[R], session_id: str
) -> list[R] | None:
    found = query.single_statement(connection, session=session_id)
    return None if found is None else of_session(connection, session_id, found.rows)


def _read_snapshot(
    connection: Connection, query: BoundedQuery[R], session_id: str
) -> list[R]:
    return of_session(connection, session_id, query(connection, session=session_id))


def _size_bytes(values: Iterable[Value]) -> int:
    return sum(len(each) for each in values if isinstance(each, str))


_HEADS: Final = Heads(Head)
