"""Whatever an argument is, a call gives a result or an error of the store, and one that
is refused writes nothing.

Methods and their arguments are found by their signatures.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

import turnstore
from tests.contract.rules.junk import JUNK
from turnstore import (
    NewEvent,
    NewMessage,
    Question,
    Session,
    SessionFilter,
    SessionStore,
    Setting,
    StoreError,
    StoreOptions,
    ToolPolicy,
    Usage,
)
from turnstore.store.turns import OpenTurn

Make = Callable[[], Any]

GOOD: Final[dict[str, Make]] = {
    "after": lambda: 0,
    "answers": lambda: {"q": 1},
    "arguments": dict,
    "content": lambda: "x",
    "events": lambda: [NewEvent(type="e")],
    "idle_timeout_s": lambda: 0,
    "key": lambda: "k",
    "limit": lambda: 1,
    "messages": lambda: [NewMessage(role="user")],
    "older_than_days": lambda: 0,
    "path": lambda: "copy.db",
    "records": list,
    "role": lambda: "user",
    "seq": lambda: 1,
    "timeout_s": lambda: 0,
    "usage": Usage,
    "events.follow_all.after": dict,
}
"""What a call is given besides the junk, by argument or by room, method and argument;
an argument that is not here is left out, or is "s" where it can't be."""

DOORS: Final[dict[type, Callable[[SessionStore, Any], Awaitable[Any]]]] = {
    NewEvent: lambda store, each: store.events.append_many("s", [each]),
    NewMessage: lambda store, each: store.messages.append_many("s", [each]),
    Question: lambda store, each: store.questions.store("s", [each]),
    SessionFilter: lambda store, each: store.sessions.list(each),
    Setting: lambda store, each: store.settings.store("s", [each]),
    ToolPolicy: lambda store, each: store.sessions.update("s", tool_policy=each),
    Usage: lambda store, each: store.usage.record("s", each),
}
"""How a record comes to the store."""
NEEDED: Final[dict[type, dict[str, Any]]] = {
    NewEvent: {"type": "e"},
    NewMessage: {"role": "user"},
    Question: {"question_id": "q", "question": "?"},
    Setting: {"setting_key": "k", "setting_name": "K"},
}


def public_methods(kind: type) -> dict[str, inspect.Signature]:
    return {
        name: signature
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
        and len((signature := inspect.signature(method)).parameters) > 1
    }


ROOMS: Final[dict[str, type]] = {
    name: type(room)
    for name, room in vars(SessionStore("sqlite://")).items()
    if not name.startswith("_") and name != "options"
}
CALLS: Final = {
    f"{room}.{name}": signature
    for room, kind in {**ROOMS, "turn": OpenTurn}.items()
    for name, signature in public_methods(kind).items()
} | {"turn": inspect.signature(SessionStore.turn)}


def arguments_of(call: str) -> dict[str, inspect.Parameter]:
    found = dict(CALLS[call].parameters)
    del found["self"]
    return found


def good_arguments(call: str) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, parameter in arguments_of(call).items():
        make = GOOD.get(f"{call}.{name}") or GOOD.get(name)
        if parameter.default is parameter.empty or name == "idle_timeout_s":
            given[name] = "s" if make is None else make()
    return given


async def outcome(store: SessionStore, call: str, given: dict[str, Any]) -> Any:
    """Make a call, and return what it gives or the error that it raises."""
    room, _, method = call.partition(".")
    try:
        if not method:
            async with store.turn(**given) as turn:
                turn.event("e")
            return None
        if room == "turn":
            async with store.turn("s") as turn:
                return getattr(turn, method)(**given)
        result = getattr(getattr(store, room), method)(**given)
        if inspect.isawaitable(result):
            return await result
        if isinstance(result, AbstractAsyncContextManager):
            async with result:
                return None
        return await first_of(result)
    except Exception as error:
        return error


async def first_of(events: AsyncIterator[Any]) -> list[Any]:
    found = []
    try:
        async with asyncio.timeout(0.01):
            async for event in events:
                found.append(event)
    except TimeoutError:
        pass
    return found


def is_refused(found: Any) -> bool:
    return isinstance(found, StoreError)


def is_leak(call: str, found: Any) -> bool:
    if isinstance(found, TimeoutError) and "timeout_s" in arguments_of(call):
        return False
    return isinstance(found, Exception) and not is_refused(found)


async def everything(store: SessionStore) -> list[Any]:
    page = await store.sessions.list(limit=1_000)
    found: list[Any] = [page.items]
    for session in page.items[:3]:
        found += [
            await store.sessions.load(session.id),
            await store.events.list(session.id),
            await store.metadata.all(session.id),
            await store.todos.get(session.id),
            await store.questions.list(session.id),
            await store.settings.list(session.id),
            await store.usage.by_agent(session.id),
        ]
    return found


async def begin_again(store: SessionStore) -> None:
    for session in (await store.sessions.list(limit=1_000)).items:
        await store.sessions.delete(session.id)
    await store.sessions.create(id="s")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that calls make are made here."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("call", CALLS)
async def test_junk_for_any_argument_is_taken_or_refused(
    store: SessionStore, session: Session, call: str
) -> None:
    leaks = []
    for name, parameter in arguments_of(call).items():
        refused: list[str] = []
        for kind, make in JUNK.items():
            value = make()
            if name.startswith("on_") and callable(value):
                continue  # what the caller's own function raises is the caller's
            found = await outcome(store, call, {**good_arguments(call), name: value})
            if is_leak(call, found):
                leaks.append((name, kind, type(found).__name__))
            elif is_refused(found):
                assert len(str(found)) < 1_000
                refused.append(kind)
        if (
            parameter.default is not None
            and parameter.kind is not parameter.VAR_KEYWORD
        ):
            found = await outcome(store, call, {**good_arguments(call), name: None})
            if is_leak(call, found):
                leaks.append((name, "None", type(found).__name__))
        await begin_again(store)
        before = await everything(store)
        for kind in refused:
            given = {**good_arguments(call), name: JUNK[kind]()}
            await outcome(store, call, given)
        assert await everything(store) == before, (call, name)
    assert leaks == []


@pytest.mark.parametrize("record", DOORS, ids=lambda kind: kind.__name__)
async def test_junk_in_any_field_is_taken_or_refused(
    store: SessionStore, session: Session, record: type
) -> None:
    leaks = []
    for field in msgspec.structs.fields(record):
        for kind, make in JUNK.items():
            given = {**NEEDED.get(record, {}), field.name: make()}
            before = await everything(store)
            try:
                await DOORS[record](store, record(**given))
            except StoreError as error:
                assert len(str(error)) < 1_000
                assert await everything(store) == before
            except Exception as error:
                leaks.append((field.name, kind, type(error).__name__))
        await begin_again(store)
    assert leaks == []


def test_every_record_that_a_method_takes_has_a_door() -> None:
    structs = {
        name
        for name in turnstore.__all__
        if isinstance(kind := getattr(turnstore, name), type)
        and issubclass(kind, msgspec.Struct)
    }
    taken = {
        word
        for call in CALLS
        for parameter in arguments_of(call).values()
        for word in re.findall(r"\w+", str(parameter.annotation))
    }
    assert {kind.__name__ for kind in DOORS} >= taken & structs


async def test_junk_for_all_arguments_is_taken_or_refused(
    store: SessionStore, session: Session
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(500):
        call = chance.choice([*CALLS])
        kinds = {name: chance.choice([*JUNK]) for name in arguments_of(call)}
        given = {name: JUNK[kind]() for name, kind in kinds.items()}
        found = await outcome(store, call, {**good_arguments(call), **given})
        assert not is_leak(call, found), (seed, call, kinds, type(found))


def test_junk_for_an_option_is_taken_or_a_value_error() -> None:
    for name in StoreOptions.__struct_fields__:
        for kind, make in JUNK.items():
            try:
                StoreOptions(**{name: make()})
            except ValueError as error:
                assert len(str(error)) < 1_000, (name, kind)


def test_junk_for_a_url_or_options_is_taken_or_refused() -> None:
    for make in JUNK.values():
        for given in ({"url": make()}, {"options": make()}):
            try:
                SessionStore(**given)
            except StoreError as error:
                assert len(str(error)) < 1_000
