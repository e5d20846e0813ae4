"""``store.metadata``: pairs of text that each session carries."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Final

import msgspec
from sqlalchemy import Connection, and_, bindparam, delete, select, tuple_

from turnstore.engine.backend import Backend
from turnstore.engine.commands import Command, Outcome
from turnstore.errors import SessionNotFound
from turnstore.options import StoreOptions
from turnstore.sql import codec
from turnstore.sql.bounded import BoundedQuery
from turnstore.sql.bulk import Insert, pairs
from turnstore.sql.compiled import Compiled
from turnstore.sql.query import Query
from turnstore.sql.schema import session_metadata, sessions
from turnstore.store.heads import Head, Heads, of_session
from turnstore.store.selects import SESSION_IS

ROW_BYTES: Final = 300


class Metadata:
    """The metadata of every session. Reach it as ``store.metadata``.

    The same pairs as ``Session.metadata``, one at a time.

    ``SessionStore`` says what holds for every call: cancellation, further errors.
    """

    def __init__(self, backend: Backend, options: StoreOptions) -> None:
        self._backend = backend
        self._bytes_max = options.payload_bytes_max

    async def get(self, session_id: str, key: str) -> str | None:
        """Return the value of a key, None when there is no such session or key.

        :raises InvalidArgument: this can't be an id, or a key.
        """
        work = partial(
            _get,
            session_id=codec.check_id(session_id, "session_id"),
            key=_check_key(key),
        )
        return await self._backend.read(work)

    async def set(self, session_id: str, key: str, value: str) -> None:
        """Set the value of a key; the session's other pairs stay.

        :param key: 1 to 255 characters.
        :param value: text, at most ``payload_bytes_max`` bytes encoded.
        :raises SessionNotFound, PayloadInvalid, PayloadTooLarge, InvalidArgument:
            nothing was written.
        """
        text = codec.check_free_text(value, "value")
        encoded = codec.encode(text, self._bytes_max)
        await self._backend.write(
            SetMetadata(
                codec.check_id(session_id, "session_id"),
                ROW_BYTES + len(encoded),
                _check_key(key),
                encoded,
            )
        )

    async def delete(self, session_id: str, key: str) -> bool:
        """Delete a pair; return whether there was one.

        :raises SessionNotFound, InvalidArgument: nothing was deleted.
        """
        return await self._backend.write(
            DeleteMetadata(
                codec.check_id(session_id, "session_id"), ROW_BYTES, _check_key(key)
            )
        )

    async def all(self, session_id: str) -> dict[str, str]:
        """Return the session's pairs, ordered by key (by code point).

        :raises SessionNotFound, InvalidArgument: no such session, or this can't be an
            id.
        """
        name = codec.check_id(session_id, "session_id")
        return await self._backend.read_single_statement(
            partial(_all_single_statement, session_id=name),
            partial(_all_snapshot, session_id=name),
        )


class MetadataRow(msgspec.Struct, gc=False):
    """A row of ``session_metadata``. ``created_at``: of the session."""

    session_key: int
    key: str
    value: str
    created_at: int
    updated_at: int


INSERT_METADATA: Final = Insert(session_metadata, MetadataRow)


class SetMetadata(Command[None], frozen=True):
    """Sets one pair of a session."""

    key: str
    value: str

    @staticmethod
    def apply(connection: Connection, commands: Sequence[SetMetadata]) -> list[Outcome]:
        heads = _HEADS.load(connection, {each.session_id for each in commands})
        values = {
            (heads[each.session_id].session_key, each.key): each.value
            for each in commands
            if each.session_id in heads
        }
        created_at = {
            each.session_key: codec.to_micros(each.created_at, "created_at")
            for each in heads.values()
        }
        now = codec.now_micros()
        # DELETE then INSERT, because upsert syntax differs per database.
        _DELETE.run_raw(connection, {"places": codec.pairs(values)})
        INSERT_METADATA(
            connection,
            [
                MetadataRow(key, name, value, created_at[key], now)
                for (key, name), value in values.items()
            ],
        )
        _HEADS.save(connection, heads.values(), now)
        return [
            None if each.session_id in heads else SessionNotFound(each.session_id)
            for each in commands
        ]


class DeleteMetadata(Command[bool], frozen=True):
    """Deletes one pair of a session; the result tells if it was there."""

    key: str

    @staticmethod
    def apply(
        connection: Connection, commands: Sequence[DeleteMetadata]
    ) -> list[Outcome]:
        heads = _HEADS.load(connection, {each.session_id for each in commands})
        wanted = [
            (heads[each.session_id].session_key, each.key)
            for each in commands
            if each.session_id in heads
        ]
        found = _FIND(connection, places=codec.pairs(wanted))
        present = {(each.session_key, each.key) for each in found}
        touched = {key for key, _ in present}
        _DELETE.run_raw(connection, {"places": codec.pairs(present)})
        _HEADS.save(
            connection,
            [each for each in heads.values() if each.session_key in touched],
            codec.now_micros(),
        )
        outcomes: list[Outcome] = []
        for command in commands:
            head = heads.get(command.session_id)
            if head is None:
                outcomes.append(SessionNotFound(command.session_id))
                continue
            place = (head.session_key, command.key)
            outcomes.append(place in present)
            present.discard(place)
        return outcomes


class _Head(Head):
    created_at: datetime


class _Pair(msgspec.Struct):
    key: str
    value: str


class _Place(msgspec.Struct):
    session_key: int
    key: str


def _get(connection: Connection, session_id: str, key: str) -> str | None:
    found = _GET.one(connection, session=session_id, key=key)
    return None if found is None else found.value


def _all_single_statement(
    connection: Connection, session_id: str
) -> dict[str, str] | None:
    found = _ALL.single_statement(connection, session=session_id)
    return None if found is None else _by_key(connection, session_id, found.rows)


def _all_snapshot(connection: Connection, session_id: str) -> dict[str, str]:
    return _by_key(connection, session_id, _ALL(connection, session=session_id))


def _by_key(
    connection: Connection, session_id: str, found: list[_Pair]
) -> dict[str, str]:
    of_session(connection, session_id, found)
    # Here, as databases sort text differently.
    return {each.key: each.value for each in sorted(found, key=lambda each: each.key)}


def _check_key(key: str) -> str:
    return codec.check_id(key, "key")


_HEADS: Final = Heads(_Head)
_OF_SESSION: Final = (
    select(session_metadata.c.key, session_metadata.c.value)
    .join(sessions, sessions.c.session_key == session_metadata.c.session_key)
    .where(SESSION_IS)
    .order_by(session_metadata.c.key)
)
_ALL: Final = BoundedQuery(_OF_SESSION, _Pair)
_GET: Final = BoundedQuery(
    _OF_SESSION.where(session_metadata.c.key == bindparam("key")), _Pair
)
_places, _session_key, _key = pairs(bindparam("places"))
_FIND: Final = Query(
    select(session_metadata.c.session_key, session_metadata.c.key).join(
        _places,
        and_(
            session_metadata.c.session_key == _session_key,
            session_metadata.c.key == _key,
        ),
    ),
    _Place,
)
_DELETE: Final = Compiled(
    delete(session_metadata).where(
        tuple_(session_metadata.c.session_key, session_metadata.c.key).in_(
            select(_session_key, _key).select_from(_places)
        )
    )
)
