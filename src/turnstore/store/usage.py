"""``store.usage``: what model calls have cost, from a ledger that nothing rewrites."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from functools import partial
from typing import Any, Final

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    func,
    literal_column,
    select,
)

from turnstore.engine.backend import Backend
from turnstore.engine.commands import Command, Outcome
from turnstore.errors import SessionNotFound
from turnstore.options import StoreOptions
from turnstore.records import SessionFilter, Usage
from turnstore.sql import codec
from turnstore.sql.query import Query, as_micros, object_of
from turnstore.sql.schema import session_heads, sessions, usage_ledger
from turnstore.store.heads import Heads, of_session
from turnstore.store.ledger import COUNTS, Ledger, UsageHead, check_usage
from turnstore.store.selects import SESSION_IS
from turnstore.store.sessions.filters import CompiledFilter, wanted
from turnstore.store.sessions.listing import every_match

ROW_BYTES: Final = 150


class UsageLedger:
    """The usage of every session. Reach it as ``store.usage``.

    Each message with a usage and each ``record`` is a row of the ledger, which
    compacting and purging leave alone. A fork begins without any.

    ``SessionStore`` says what holds for every call: cancellation, further errors.
    """

    def __init__(self, backend: Backend, options: StoreOptions) -> None:
        self._backend = backend

    async def session(self, id: str) -> Usage:
        """Return the session's totals. Cost: one row.

        :raises SessionNotFound, InvalidArgument: no such session, or this can't be an
            id.
        """
        work = partial(_session, session_id=codec.check_id(id, "id"))
        return await self._backend.read(work)

    async def by_agent(self, id: str) -> dict[str, Usage]:
        """Return the session's usage by agent, most tokens first.

        Tokens are prompt and completion; ties go by name, by code point. What names no
        agent counts for the session's own, as it is now. Cost: the session's rows of
        the ledger.

        :raises SessionNotFound, InvalidArgument: no such session, or this can't be an
            id.
        """
        return await self._shares(_BY_AGENT, id)

    async def by_model(self, id: str) -> dict[str, Usage]:
        """Return the session's usage by model, most tokens first.

        Tokens are prompt and completion; ties go by name, by code point. What names no
        model counts for the session's own, as it is now, for ``""`` where it has none.
        Cost: the session's rows of the ledger.

        :raises SessionNotFound, InvalidArgument: no such session, or this can't be an
            id.
        """
        return await self._shares(_BY_MODEL, id)

    async def by_day(
        self,
        filter: SessionFilter = SessionFilter(),  # noqa: B008 - immutable
    ) -> dict[date, Usage]:
        """Return the usage of each UTC day that has any, oldest day first.

        The day is that of the message's ``created_at``, or when it was recorded.
        Without a filter deleted sessions count too; a filter takes the sessions that
        match now.

        :raises InvalidArgument: a value of the filter is out of bounds.

        Cost: the ledger's rows of these sessions.
        """
        work = partial(_by_day, wanted=wanted(filter))
        days = await self._backend.read(work, snapshot=True)
        return {codec.from_micros(each.midnight_us).date(): each.usage for each in days}

    async def record(
        self,
        id: str,
        usage: Usage,
        agent_name: str | None = None,
        model: str | None = None,
    ) -> None:
        """Count model calls that left no message: one, unless the usage says otherwise.

        The session's ``last_model`` stays as it is.

        :param id: of the session.
        :param usage: each count 0 to 10**12.
        :raises SessionNotFound, InvalidArgument: nothing was written.
        """
        await self._backend.write(
            RecordUsage(
                codec.check_id(id, "id"),
                ROW_BYTES,
                check_usage(usage),
                codec.check_text_or_none(agent_name, "agent_name"),
                codec.check_text_or_none(model, "model"),
            )
        )

    async def _shares(self, query: Query[_Share], id: str) -> dict[str, Usage]:
        work = partial(_shares, query=query, session_id=codec.check_id(id, "id"))
        return await self._backend.read(work)


class RecordUsage(Command[None], frozen=True):
    """Adds a row to the ledger and to the totals of one session."""

    usage: Usage
    agent_name: str | None = None
    model: str | None = None

    @staticmethod
    def apply(connection: Connection, commands: Sequence[RecordUsage]) -> list[Outcome]:
        heads = _HEADS.load(connection, {each.session_id for each in commands})
        ledger = Ledger()
        now = codec.now_micros()
        outcomes: list[Outcome] = []
        for command in commands:
            head = heads.get(command.session_id)
            if head is None:
                outcomes.append(SessionNotFound(command.session_id))
                continue
            ledger.add(
                head,
                command.usage,
                agent_name=command.agent_name,
                model=command.model,
                created_at=now,
            )
            outcomes.append(None)
        ledger.insert(connection)
        _HEADS.save(connection, heads.values(), now)
        return outcomes


class _Share(msgspec.Struct):
    name: str
    usage: Usage


class _Day(msgspec.Struct):
    midnight_us: int
    usage: Usage


def _session(connection: Connection, session_id: str) -> Usage:
    found = _TOTALS.one(connection, session=session_id)
    if found is None:
        raise SessionNotFound(session_id)
    return found


def _shares(
    connection: Connection, query: Query[_Share], session_id: str
) -> dict[str, Usage]:
    found = of_session(connection, session_id, query(connection, session=session_id))
    # Here, as databases sort text differently.
    found.sort(key=lambda each: (-_tokens(each.usage), each.name))
    return {each.name: each.usage for each in found}


def _tokens(usage: Usage) -> int:
    return usage.prompt_tokens + usage.completion_tokens


def _by_day(connection: Connection, wanted: CompiledFilter) -> list[_Day]:
    query = _BY_DAY
    if wanted.conditions:
        matches = every_match(connection, wanted)
        is_match = usage_ledger.c.session_key.in_(select(matches.c.session_key))
        query = Query(_DAYS.where(is_match), _Day)
    return query(connection, **wanted.values)


def _by(expression: ColumnElement[str]) -> Select[Any]:
    name = expression.label("name")
    columns: list[ColumnElement[Any]] = [name, _SUMS]
    return (
        select(*columns)
        .join(sessions, sessions.c.session_key == usage_ledger.c.session_key)
        .where(SESSION_IS)
        .group_by(name)
    )


_HEADS: Final = Heads(UsageHead)
_SUMS: Final = object_of(
    {name: func.sum(usage_ledger.c[name]) for name in COUNTS}
).label("usage")
_TOTALS: Final = Query(
    select(*(session_heads.c[name] for name in COUNTS))
    .join(sessions, sessions.c.session_key == session_heads.c.session_key)
    .where(sessions.c.id == bindparam("session")),
    Usage,
)
_BY_AGENT: Final = Query(
    _by(func.coalesce(usage_ledger.c.agent_name, sessions.c.agent_name)), _Share
)
_BY_MODEL: Final = Query(
    _by(func.coalesce(usage_ledger.c.model, sessions.c.model, literal_column("''"))),
    _Share,
)
_day: Any = literal_column(str(codec.DAY_US))
# A remainder is negative before 1970.
_since_midnight = (usage_ledger.c.created_at % _day + _day) % _day
_midnight = as_micros(usage_ledger.c.created_at - _since_midnight).label("midnight_us")
_day_columns: list[ColumnElement[Any]] = [_midnight, _SUMS]
_DAYS: Final = select(*_day_columns).group_by(_midnight).order_by(_midnight)
_BY_DAY: Final = Query(_DAYS, _Day)
