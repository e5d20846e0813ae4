"""Values: JSON payloads, free text, names and times, at every place that takes them.

Left to a backend's own tests: what the path of a URL becomes once it is opened.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final, TypeAlias

import pytest

from tests.contract.ways import OpenStore
from turnstore import (
    UNSET,
    InvalidArgument,
    NewEvent,
    NewMessage,
    PayloadInvalid,
    PayloadTooLarge,
    Question,
    Session,
    SessionFilter,
    SessionStore,
    Setting,
    ToolPolicy,
    Usage,
)

Door: TypeAlias = Callable[[SessionStore, Any], Awaitable[Any]]
"""Writes a value to the session "s" and returns it as it is read back."""


async def event_data(store: SessionStore, value: Any) -> Any:
    seq = await store.events.append("s", "e", value)
    return (await store.events.list("s", after=seq - 1))[0].data


async def message_content(store: SessionStore, value: Any) -> Any:
    await store.messages.append("s", "user", value)
    return (await store.messages.list("s", last=1))[0].content


async def message_tool_calls(store: SessionStore, value: Any) -> Any:
    calls = [{"id": "c", "value": value}]
    await store.messages.append("s", "assistant", tool_calls=calls)
    return (await store.messages.list("s", last=1))[0].tool_calls[0]["value"]


async def session_config(store: SessionStore, value: Any) -> Any:
    made = await store.sessions.create(config=value)
    read = await store.sessions.get(made.id)
    return read and read.config


async def session_result(store: SessionStore, value: Any) -> Any:
    await store.sessions.update("s", result=value)
    read = await store.sessions.get("s")
    return read and read.result


async def call_arguments(store: SessionStore, value: Any) -> Any:
    call = await store.tool_calls.create("s", "ls", value)
    read = await store.tool_calls.get("s", call.id)
    return read and read.arguments


async def call_result(store: SessionStore, value: Any) -> Any:
    call = await store.tool_calls.create("s", "ls", {})
    await store.tool_calls.update("s", call.id, result=value)
    read = await store.tool_calls.get("s", call.id)
    return read and read.result


async def call_error_details(store: SessionStore, value: Any) -> Any:
    call = await store.tool_calls.create("s", "ls", {})
    await store.tool_calls.update("s", call.id, error_details=value)
    read = await store.tool_calls.get("s", call.id)
    return read and read.error_details


async def todo(store: SessionStore, value: Any) -> Any:
    await store.todos.set("s", value)
    return await store.todos.get("s")


async def question_default(store: SessionStore, value: Any) -> Any:
    question = Question(question_id="q", question="?", default=value)
    await store.questions.store("s", [question])
    return (await store.questions.list("s"))[-1].default


async def setting_value(store: SessionStore, value: Any) -> Any:
    setting = Setting(setting_key="k", setting_name="K", value=value)
    await store.settings.store("s", [setting])
    return (await store.settings.list("s"))[-1].value


DOORS: Final[list[Door]] = [
    event_data,
    message_content,
    message_tool_calls,
    session_config,
    session_result,
    call_arguments,
    call_result,
    call_error_details,
    todo,
    question_default,
    setting_value,
]
every_door = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)


def nested(levels: int) -> Any:
    value: Any = "leaf"
    for at in range(levels):
        value = [value] if at % 2 else {"k": value}
    return value


VALUES: Final[list[Any]] = [
    *({}, [], "", 0, False, True, 1.5, -0.5, 5e-324, 1e308),
    *({"a": None}, [None], {"": {}}, "'\"\\%s;--", "\ufeff\u2028\uffff😀e\u0301"),
    *(2**53 + 1, 2**63, -(2**64) - 1, 10**4_298),
    *("a\x00b", {"\x00": ["\x00"]}, nested(198), "x" * 50_000, [*range(5_000)]),
]
NOT_JSON: Final[dict[str, Any]] = {
    "NaN": math.nan,
    "Infinity": {"a": [math.inf]},
    "a lone surrogate": ["a\ud800"],
    "a lone surrogate in a key": {"\udfff": 1},
    "a key that is a number": {1: "a"},
    "a key that is None": {None: "a"},
    "bytes": b"a",
    "a set": {1},
    "a time": [datetime(2024, 1, 1, tzinfo=UTC)],
    "a record": Usage(),
    "an object": object(),
    "unset": [UNSET],
    "more than 200 levels": nested(201),
    "more than 4,300 digits": 10**4_300,
}
NO_TIMES: Final[dict[str, Any]] = {
    "naive": datetime(2024, 1, 1),
    "after the year 9999": datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
    "before the year 1": datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
    "text": "2024-01-01T00:00:00Z",
    "a number": 0,
}


# Payloads


@every_door
async def test_payloads_come_back_equal(
    store: SessionStore, session: Session, door: Door
) -> None:
    for value in VALUES:
        read = await door(store, value)
        assert read == value and type(read) is type(value)


@every_door
async def test_key_order_is_kept(
    store: SessionStore, session: Session, door: Door
) -> None:
    read = await door(store, {"z": 1, "a": {"y": 1, "b": 2}, "m": 3})
    assert (list(read), list(read["a"])) == (["z", "a", "m"], ["y", "b"])


@every_door
async def test_tuples_count_as_lists(
    store: SessionStore, session: Session, door: Door
) -> None:
    read = await door(store, ((1, (2,)), {"a": ()}))
    assert read == [[1, [2]], {"a": []}]


@every_door
async def test_what_is_no_json_is_payload_invalid_and_writes_nothing(
    store: SessionStore, session: Session, door: Door
) -> None:
    for name, value in NOT_JSON.items():
        with pytest.raises(PayloadInvalid):
            await door(store, value)
            pytest.fail(f"{name} was taken")
    read = await store.sessions.get("s")
    assert read is not None
    assert (read.message_head, read.event_head, read.result) == (0, 0, None)
    assert await store.sessions.count() == 1


@every_door
async def test_too_many_bytes_are_payload_too_large_and_write_nothing(
    open_store: OpenStore, door: Door
) -> None:
    store = await open_store(payload_bytes_max=100)
    await store.sessions.create(id="s")
    with pytest.raises(PayloadTooLarge):
        await door(store, "é" * 50)
    read = await store.sessions.get("s")
    assert read is not None and (read.message_head, read.event_head) == (0, 0)
    assert await door(store, "é" * 20) == "é" * 20


async def test_none_absent_and_empty_are_distinct(
    store: SessionStore, session: Session
) -> None:
    given = [None, {}, {"a": None}, [], [None], "", "null", False, 0]
    for value in given:
        await store.messages.append("s", "user", value)
        await store.events.append("s", "e", value)
    messages = [each.content for each in await store.messages.list("s")]
    events = [each.data for each in await store.events.list("s")]
    assert list(map(repr, messages)) == list(map(repr, given))
    assert list(map(repr, events)) == list(map(repr, given))


async def test_a_payload_may_have_200_levels(
    store: SessionStore, session: Session
) -> None:
    assert await event_data(store, nested(200)) == nested(200)


@pytest.mark.parametrize("value", [10**4_299, 1 - 10**4_300], ids=["+", "-"])
async def test_an_integer_may_have_4300_digits(
    store: SessionStore, session: Session, value: int
) -> None:
    assert await event_data(store, value) == value


# Text


@pytest.mark.parametrize(
    "text", ["", "a\x00b", "two\nlines\r\n", "'\"\\%_", "😀", "x" * 50_000], ids=len
)
async def test_free_text_comes_back_with_nul_too(
    store: SessionStore, session: Session, text: str
) -> None:
    fields: dict[str, Any] = {
        "title": text,
        "system_prompt": text,
        "user_prompt": text,
    }
    made = await store.sessions.update("s", error=text, **fields)
    await store.metadata.set("s", "k", text)
    call = await store.tool_calls.create("s", "ls", {})
    await store.tool_calls.update("s", call.id, output=text, error=text)
    state = await store.sessions.load("s")
    assert state is not None and made.title == text
    read = state.session
    assert (read.title, read.system_prompt, read.user_prompt) == (text,) * 3
    assert (read.error, read.metadata) == (text, {"k": text})
    assert (state.tool_calls[0].output, state.tool_calls[0].error) == (text, text)


async def test_texts_of_several_rows_are_kept_apart(
    store: SessionStore, session: Session
) -> None:
    """Whatever they have in them: something may stand between them on their way."""
    texts = [chr(code) for code in range(1, 33)]
    texts += ["a\x1fb", "\x1e\x1f", "\x1f\x1e", "{}", ",", '"', "\\", "\\N", "NULL"]
    for several in (texts, ["\x1e", "a"], ["\x1f", "a"], ["", "a"], ["", ""]):
        new = [NewEvent(type=each or "t", model=each) for each in several]
        seqs = await store.events.append_many("s", [*new, NewEvent(type="last")])
        found = await store.events.list("s", after=seqs[0] - 1)
        assert [each.model for each in found] == [*several, None]
        assert [each.type for each in found[:-1]] == [each.type for each in new]


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800", 5], ids=ascii)
async def test_nul_is_refused_in_ids_names_and_keys(
    store: SessionStore, session: Session, text: Any
) -> None:
    calls: list[Awaitable[Any]] = [
        store.sessions.create(id=text),
        store.sessions.create(agent_name=text),
        store.sessions.create(project_root=text),
        store.sessions.create(tool_policy=ToolPolicy(tools=frozenset({text}))),
        store.sessions.update("s", model=text),
        store.sessions.update("s", metadata={text: "v"}),
        store.metadata.set("s", text, "v"),
        store.messages.append("s", "user", id=text),
        store.messages.append("s", "user", name=text),
        store.messages.append("s", "user", idempotency_key=text),
        store.messages.append("s", "tool", tool_call_id=text),
        store.tool_calls.create("s", text, {}),
        store.tool_calls.create("s", "ls", {}, call_id=text),
        store.events.append("s", text),
        store.events.append("s", "e", turn_id=text),
        store.events.append("s", "e", idempotency_key=text),
    ]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(each) for each in outcomes] == [InvalidArgument] * len(calls)
    assert await store.sessions.get("s") == session
    assert await store.sessions.count() == 1


# Times


@pytest.mark.parametrize("at", NO_TIMES.values(), ids=NO_TIMES)
async def test_a_naive_or_wrong_time_is_an_invalid_argument(
    store: SessionStore, session: Session, at: Any
) -> None:
    calls: list[Awaitable[Any]] = [
        store.sessions.create(created_at=at),
        store.sessions.update("s", ended_at=at),
        store.sessions.list(SessionFilter(created_after=at)),
        store.messages.append("s", "user", created_at=at),
        store.messages.append_many("s", [NewMessage(role="user", created_at=at)]),
        store.tool_calls.create("s", "ls", {}, created_at=at),
        store.events.append("s", "e", created_at=at),
        store.events.append_many("s", [NewEvent(type="e", created_at=at)]),
    ]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(each) for each in outcomes] == [InvalidArgument] * len(calls)
    assert await store.sessions.get("s") == session


# URLs


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///a.db?mode=ro",
        "sqlite://?cache=shared",
        "sqlite:///%ff.db",
        "sqlite:///a%00b.db",
        "sqlite://host/a.db",
    ],
)
def test_an_unknown_option_or_path_of_a_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument):
        SessionStore(url)


def test_an_unknown_option_of_a_postgresql_url_is_refused() -> None:
    pytest.importorskip("asyncpg")
    with pytest.raises(InvalidArgument, match="nonsense"):
        SessionStore("postgresql://nobody@nowhere.invalid/store?nonsense=1")
