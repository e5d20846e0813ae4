"""A call of every public method of a store, found by inspection.

Arguments are given by the names of the parameters, so a new method is called as soon as
it is there; one with a required parameter of an unknown name fails until ``VALUES`` or
``OWN`` says what it takes.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, select

from tests.support.patience import until
from turnstore import (
    NewEvent,
    NewMessage,
    Question,
    SessionStore,
    Setting,
    Usage,
)
from turnstore.sql import schema

Call: TypeAlias = Callable[[SessionStore, str], Coroutine[Any, Any, Any]]
"""Of a store and the id of a session that ``prepare`` made."""

NOT_CALLED: Final = {"open", "close", "shared"}
"""Methods that are about the store itself; ``tests/concurrency/test_close.py``."""

VALUES: Final[dict[str, Any]] = {
    "role": "user",
    "type": "t",
    "name": "ls",
    "arguments": {"path": "."},
    "limit": 5,
    "seq": 2,
    "seqs": [1],
    "after": 1,
    "events": [NewEvent(type="t", data=1)] * 2,
    "messages": [NewMessage(role="user", content="x")] * 2,
    "message_id": "m2",
    "ids": ["m1"],
    "summary": "so far",
    "key": "k",
    "value": "new",
    "content": "new",
    "usage": Usage(prompt_tokens=1),
    "call_id": "p1",
    "answers": {"q": 1},
    "older_than_days": 0,
}
"""By the name of a parameter; ``session_id``, ``id``, ``path`` come from the test."""

OWN: Final[dict[str, dict[str, Any]]] = {
    "sessions.create": {"title": "t"},
    "sessions.update": {"title": "new"},
    "messages.get": {"id": "m1"},
    "messages.compact": {"preserve": 1},
    "messages.update": {"id": "m1", "content": "new"},
    "tool_calls.get": {"id": "c1"},
    "tool_calls.update": {"id": "c1", "status": "executing"},
    "tool_calls.answer": {"id": "c1", "output": "done"},
    "tool_calls.wait": {"id": "c1", "timeout_s": 0.01},
    "questions.store": {"records": [Question(question_id="r", question="?")]},
    "settings.store": {"records": [Setting(setting_key="r", setting_name="R")]},
    "settings.answer": {"answers": {"k": 1}},
    "events.follow": {"idle_timeout_s": 0.01},
    "events.follow_all": {"idle_timeout_s": 0.01},
}
"""What a method takes that its parameters' names don't say."""


async def prepare(store: SessionStore, session_id: str) -> None:
    """Make a session with something in each room."""
    await store.sessions.create(id=session_id, metadata={"k": "v"})
    async with store.turn(session_id) as turn:
        for at in range(1, 5):
            turn.message("user", f"message {at}", id=f"m{at}")
        turn.tool_call("ls", {}, id="c1", call_id="p1", status="completed")
        for at in range(3):
            turn.event("t", {"at": at})
    await store.questions.store(session_id, [Question(question_id="q", question="?")])
    await store.settings.store(session_id, [Setting(setting_key="k", setting_name="K")])


async def prepare_for(store: SessionStore, name: str, session_id: str) -> None:
    await prepare(store, session_id)
    if name == "messages.uncompact" or name == "archive.purge":
        await store.messages.compact(session_id, "so far", preserve=1)
    elif name in ("tool_calls.update", "tool_calls.answer", "tool_calls.interrupt"):
        # Open again: as made anew under another id.
        await store.tool_calls.create(session_id, "ls", {}, id="c2", call_id="p2")
    elif name == "admin.recover":
        await store.sessions.update(session_id, status="running")


def names(store: SessionStore) -> Iterator[str]:
    """Yield every public method, as it is called on a store."""
    for name, method in inspect.getmembers(store, callable):
        if not name.startswith("_") and name not in NOT_CALLED:
            if inspect.ismethod(method):
                yield name
    for room, methods in sorted(vars(store).items()):
        if room.startswith("_") or not type(methods).__module__.startswith(
            "turnstore."
        ):
            continue
        for name, method in inspect.getmembers(methods, callable):
            if not name.startswith("_") and inspect.ismethod(method):
                yield f"{room}.{name}"


def every_name() -> list[str]:
    # Making a store does no I/O.
    return list(names(SessionStore("sqlite://")))


def call_of(name: str, folder: Path) -> Call:
    """Return a call of a method with arguments that it takes."""

    async def call(store: SessionStore, session_id: str) -> Any:
        method: Any = store
        for part in name.split("."):
            method = getattr(method, part)
        own = dict(OWN.get(name, {}))
        if name in ("tool_calls.update", "tool_calls.answer"):
            own["id"] = "c2"
        positional: list[Any] = []
        for each in inspect.signature(method).parameters.values():
            is_required = each.default is each.empty
            if each.name in own or not is_required:
                continue
            if each.kind in (each.VAR_KEYWORD, each.VAR_POSITIONAL):
                continue
            if each.name in ("session_id", "id"):
                own[each.name] = session_id
            elif each.name == "path":
                own[each.name] = folder / f"{name} {session_id}.db"
            else:
                assert each.name in VALUES, f"{name}: what is {each.name}?"
                own[each.name] = VALUES[each.name]
        return await _run_to_its_end(method(*positional, **own))

    return call


async def _run_to_its_end(made: Any) -> Any:
    """Await a call, read an iterator, enter a block and write in it."""
    if isinstance(made, AsyncIterator):
        return [each async for each in made]
    if isinstance(made, contextlib.AbstractAsyncContextManager):
        async with made as inside:
            if hasattr(inside, "message"):
                inside.message("user", "in a turn")
                inside.event("t", "in a turn")
        return None
    return await made


async def rows(store: SessionStore) -> dict[str, list[str]]:
    """Return every row of every table, once all that is queued is written."""

    def read(connection: Connection) -> dict[str, list[str]]:
        return {
            table.name: sorted(map(repr, connection.execute(select(table)).all()))
            for table in schema.metadata.sorted_tables
        }

    # A replay writes nothing, and waits its turn behind what was written before.
    await store.events.append("barrier", "t", idempotency_key="barrier")
    return await store._backend.read(read, snapshot=True)


async def idle(store: SessionStore) -> bool:
    found = await store.statistics()
    return found.queue_depth == 0


async def settled(store: SessionStore) -> None:
    await until(lambda: idle(store))
