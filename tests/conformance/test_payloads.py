"""What comes back of a payload and of free text, and what is refused, in every room."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import turnstore
from turnstore import PayloadInvalid, PayloadTooLarge, SessionStore, StoreOptions, Usage

pytestmark = pytest.mark.anyio

Door = Callable[[SessionStore, str, Any], Awaitable[Any]]
"""Writes a payload to a session and returns it as it is read back."""


async def event_data(store: SessionStore, session_id: str, value: Any) -> Any:
    seq = await store.events.append(session_id, "e", value)
    return (await store.events.list(session_id, after=seq - 1))[0].data


async def message_content(store: SessionStore, session_id: str, value: Any) -> Any:
    made = await store.messages.append(session_id, "user", value)
    [read] = await store.messages.list(session_id, last=1)
    assert read == made
    return read.content


async def message_tool_calls(store: SessionStore, session_id: str, value: Any) -> Any:
    calls = [{"id": "c", "value": value}]
    made = await store.messages.append(session_id, "assistant", tool_calls=calls)
    [read] = await store.messages.list(session_id, last=1)
    assert read == made
    return read.tool_calls[0]["value"]


async def config(store: SessionStore, session_id: str, value: Any) -> Any:
    made = await store.sessions.create(config=value)
    read = await store.sessions.get(made.id)
    assert read == made
    return made.config


async def session_result(store: SessionStore, session_id: str, value: Any) -> Any:
    made = await store.sessions.update(session_id, result=value)
    assert await store.sessions.get(session_id) == made
    return made.result


async def arguments(store: SessionStore, session_id: str, value: Any) -> Any:
    made = await store.tool_calls.create(session_id, "t", value)
    assert await store.tool_calls.get(session_id, made.id) == made
    return made.arguments


async def call_result(store: SessionStore, session_id: str, value: Any) -> Any:
    made = await store.tool_calls.create(session_id, "t", None)
    read = await store.tool_calls.update(session_id, made.id, result=value)
    assert await store.tool_calls.get(session_id, made.id) == read
    return read.result


async def error_details(store: SessionStore, session_id: str, value: Any) -> Any:
    made = await store.tool_calls.create(session_id, "t", None)
    read = await store.tool_calls.update(session_id, made.id, error_details=value)
    return read.error_details


DOORS: list[Door] = [
    event_data,
    message_content,
    message_tool_calls,
    config,
    session_result,
    arguments,
    call_result,
    error_details,
]
every_door = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)


def nested(levels: int) -> Any:
    value: Any = "leaf"
    for at in range(levels):
        value = [value] if at % 2 else {"k": value}
    return value


VALUES: list[Any] = [
    {},
    [],
    "",
    0,
    False,
    True,
    [None],
    {"a": None},
    "a\x00b",
    {"\x00": "\x00\x01\x1f\x7f"},
    "quotes ' \" ` \\ % %s {0} -- ; /* */",
    "\u2028\u2029\ufeff\ufffe\uffff\U0010ffff😀e\u0301",
    "\ud7ff\ue000",
    2**53 + 1,
    2**63,
    -(2**64) - 1,
    10**4_299,
    -(10**4_298),
    [0.1, 1e308, 5e-324, -0.5, 1e22],
    {"z": 1, "a": 2, "m": {"b": 1, "a": 2}},
    {"": ""},
    nested(198),
    ["[" * 300, "{" * 300],
    "x" * 100_000,
    list(range(10_000)),
]


@every_door
async def test_payloads_come_back_equal(store: SessionStore, door: Door) -> None:
    session = await store.sessions.create()
    for value in VALUES:
        read = await door(store, session.id, value)
        assert read == value
        assert type(read) is type(value)


async def test_a_payload_may_have_200_levels(store: SessionStore) -> None:
    session = await store.sessions.create(config=nested(200))
    assert session.config == nested(200)


async def test_a_negative_integer_may_have_4300_digits_too(store: SessionStore) -> None:
    session = await store.sessions.create(config=-(10**4_299))
    assert session.config == -(10**4_299)


@every_door
async def test_key_order_is_kept(store: SessionStore, door: Door) -> None:
    session = await store.sessions.create()
    given = {"z": 1, "a": {"y": 1, "b": 2}, "m": 3}
    read = await door(store, session.id, given)
    assert list(read) == ["z", "a", "m"] and list(read["a"]) == ["y", "b"]


@every_door
async def test_tuples_count_as_lists(store: SessionStore, door: Door) -> None:
    session = await store.sessions.create()
    read = await door(store, session.id, ((1, (2,)), {"a": ()}))
    assert read == [[1, [2]], {"a": []}]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
async def test_any_payload_comes_back_equal(store: SessionStore, value: Any) -> None:
    session = await store.sessions.create(config=value)
    assert await event_data(store, session.id, value) == value
    assert await message_content(store, session.id, value) == value
    assert session.config == value


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


NOT_JSON: dict[str, Any] = {
    "nan": math.nan,
    "infinity in a tuple": ({"a": [-math.inf]},),
    "lone surrogate": ["a\ud800"],
    "lone surrogate in a key": {"\udfff": 1},
    "integer key": {1: "a"},
    "None key": {None: "a"},
    "bytes": b"a",
    "set": [{1}],
    "date": datetime(2024, 1, 1, tzinfo=UTC),
    "record": Usage(),
    "object": object(),
    "too deep": nested(201),
    "far too deep": nested(100_000),
    "cyclic": cyclic(),
    "too many digits": 10**4_300,
    "unset": [turnstore.UNSET],
}


@every_door
async def test_what_is_not_json_is_refused_and_writes_nothing(
    store: SessionStore, door: Door
) -> None:
    session = await store.sessions.create()
    good = await store.tool_calls.create(session.id, "t", None)
    before = (
        await store.events.list(session.id),
        await store.messages.list(session.id),
    )
    for name, value in NOT_JSON.items():
        with pytest.raises(PayloadInvalid):
            await door(store, session.id, value)
            pytest.fail(f"{name} was taken")
    after = (await store.events.list(session.id), await store.messages.list(session.id))
    assert after == before
    read = await store.sessions.get(session.id)
    assert read is not None and read.result is None
    calls = await store.tool_calls.list(session.id)
    assert {(each.result, each.arguments) for each in calls} == {(None, None)}
    assert good in calls


@every_door
async def test_a_payload_of_too_many_bytes_is_refused(
    store_path: Path, door: Door
) -> None:
    async with SessionStore(store_path, StoreOptions(payload_bytes_max=100)) as store:
        session = await store.sessions.create()
        with pytest.raises(PayloadTooLarge) as caught:
            await door(store, session.id, "é" * 50)
        assert caught.value.bytes_max == 100 < caught.value.size_bytes
        assert await door(store, session.id, "é" * 20) == "é" * 20


FREE_TEXT = ["", "a\x00b", "line\nline", "'\"\\", "😀", "x" * 100_000]


async def test_free_text_comes_back(store: SessionStore) -> None:
    call = await store.tool_calls.create(
        (await store.sessions.create(id="s")).id, "t", 1
    )
    for text in FREE_TEXT:
        session = await store.sessions.create(
            title=text, system_prompt=text, user_prompt=text, metadata={"k": text}
        )
        session = await store.sessions.update(session.id, error=text)
        assert session.metadata == {"k": text}
        prompts = (session.title, session.system_prompt, session.user_prompt)
        assert (*prompts, session.error) == (text,) * 4
        message = await store.messages.append("s", "user", text)
        assert await store.messages.list("s", last=1) == [message]
        assert message.content == text
        updated = await store.tool_calls.update("s", call.id, output=text)
        assert updated.output == text
