"""``store.todos``: what each session has left to do."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec
from sqlalchemy import Connection, select

from turnstore.engine.backend import Backend
from turnstore.engine.commands import Command, Outcome
from turnstore.errors import SessionNotFound
from turnstore.options import StoreOptions
from turnstore.records import Json
from turnstore.sql import codec
from turnstore.sql.bounded import BoundedQuery
from turnstore.sql.bulk import Update
from turnstore.sql.schema import sessions
from turnstore.store.heads import Head, Heads
from turnstore.store.selects import SESSION_IS

ROW_BYTES: Final = 100


class Todos:
    """The to-do list of every session, one JSON value. Reach it as ``store.todos``.

    ``SessionStore`` says what holds for every call: cancellation, further errors.
    """

    def __init__(self, backend: Backend, options: StoreOptions) -> None:
        self._backend = backend
        self._bytes_max = options.payload_bytes_max

    async def get(self, session_id: str) -> Json:
        """Return what was set last, None when nothing was or there is no such session.

        :raises InvalidArgument: this can't be an id.
        """
        work = partial(_get, session_id=codec.check_id(session_id, "session_id"))
        return await self._backend.read(work)

    async def set(self, session_id: str, content: Json) -> None:
        """Replace the whole list; None clears it.

        :param content: any JSON, at most ``payload_bytes_max`` bytes encoded.
        :raises SessionNotFound, PayloadInvalid, PayloadTooLarge, InvalidArgument:
            nothing was written.
        """
        encoded = codec.encode_or_none(content, self._bytes_max)
        await self._backend.write(
            SetTodo(
                codec.check_id(session_id, "session_id"),
                ROW_BYTES + len(encoded or ""),
                encoded,
            )
        )


class SetTodo(Command[None], frozen=True):
    """Replaces the to-do list of a session."""

    todo: str | None

    @staticmethod
    def apply(connection: Connection, commands: Sequence[SetTodo]) -> list[Outcome]:
        heads = _HEADS.load(connection, {each.session_id for each in commands})
        values = {
            heads[each.session_id].session_key: each.todo
            for each in commands
            if each.session_id in heads
        }
        _UPDATE(connection, list(values.items()))
        _HEADS.save(connection, heads.values(), codec.now_micros())
        return [
            None if each.session_id in heads else SessionNotFound(each.session_id)
            for each in commands
        ]


class _Todo(msgspec.Struct):
    todo: Json


def _get(connection: Connection, session_id: str) -> Json:
    found = _GET.one(connection, session=session_id)
    return None if found is None else found.todo


_HEADS: Final = Heads(Head)
_UPDATE: Final = Update(sessions, [sessions.c.session_key], [sessions.c.todo])
_GET: Final = BoundedQuery(select(sessions.c.todo).where(SESSION_IS), _Todo)
