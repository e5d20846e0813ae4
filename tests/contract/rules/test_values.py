"""Values: JSON payloads, and free text, at every place that takes them.

Left to a backend's own tests: what the path of a URL becomes once it is opened.
"""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.ways import OpenStore
from turnstore import (
    UNSET,
    InvalidArgument,
    NewEvent,
    PayloadInvalid,
    PayloadTooLarge,
    Question,
    Session,
    SessionStore,
    Setting,
    Usage,
)

Door: TypeAlias = Callable[[SessionStore, Any], Awaitable[Any]]
"""Writes a value to the session "s" and returns it as it is read back, which must be
as the call that wrote it gives it."""


async def event_data(store: SessionStore, value: Any) -> Any:
    seq = await store.events.append("s", "e", value)
    return (await store.events.list("s", after=seq - 1))[0].data


async def message_content(store: SessionStore, value: Any) -> Any:
    made = await store.messages.append("s", "user", value)
    assert await store.messages.list("s", last=1) == [made]
    return made.content


async def message_tool_calls(store: SessionStore, value: Any) -> Any:
    calls = [{"id": "c", "value": value}]
    made = await store.messages.append("s", "assistant", tool_calls=calls)
    assert await store.messages.list("s", last=1) == [made]
    assert made.tool_calls is not None
    return made.tool_calls[0]["value"]


async def session_config(store: SessionStore, value: Any) -> Any:
    made = await store.sessions.create(config=value)
    assert await store.sessions.get(made.id) == made
    return made.config


async def session_result(store: SessionStore, value: Any) -> Any:
    made = await store.sessions.update("s", result=value)
    assert await store.sessions.get("s") == made
    return made.result


async def call_arguments(store: SessionStore, value: Any) -> Any:
    made = await store.tool_calls.create("s", "ls", value)
    assert await store.tool_calls.get("s", made.id) == made
    return made.arguments


async def call_result(store: SessionStore, value: Any) -> Any:
    call = await store.tool_calls.create("s", "ls", None)
    made = await store.tool_calls.update("s", call.id, result=value)
    assert await store.tool_calls.get("s", call.id) == made
    return made.result


async def call_error_details(store: SessionStore, value: Any) -> Any:
    call = await store.tool_calls.create("s", "ls", None)
    made = await store.tool_calls.update("s", call.id, error_details=value)
    assert await store.tool_calls.get("s", call.id) == made
    return made.error_details


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
    *(
        {},
        [],
        "",
        0,
        False,
        True,
        [0.1, 1e308, 5e-324, -0.5, 1e22],
        1.5,
        1e308,
        -0.5,
        5e-324,
    ),
    *({"a": None}, [None], {"": {}}, {"z": 1, "a": 2, "m": {"b": 1, "a": 2}}),
    *("quotes ' \" ` \\ % %s {0} -- ; /* */", ["[" * 300, "{" * 300]),
    *("\u2028\u2029\ufeff\ufffe\uffff\U0010ffff😀e\u0301", "\ud7ff\ue000"),
    *("a\x00b", {"\x00": ["\x00"]}, {"\x00": "\x00\x01\x1f\x7f"}),
    *("cut \ud83d", ["\ude00 é \ud83d", "😀"], {"\udfff": {"a": "\ud800\x00"}}),
    *(2**53 + 1, 2**63, -(2**64) - 1, 10**4_299, -(10**4_298)),
    *(nested(198), "x" * 100_000, [*range(10_000)]),
]


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


NOT_JSON: Final[dict[str, Any]] = {
    "NaN": math.nan,
    "Infinity": {"a": [math.inf]},
    "-Infinity in a tuple": ({"a": [-math.inf]},),
    "NaN beside a lone surrogate": ["a\ud800", math.nan],
    "two keys that are the same text": {"\ud83d\ude00": 1, "😀": 2},
    "a key that is a number": {1: "a"},
    "a key that is None": {None: "a"},
    "bytes": b"a",
    "a set": {1},
    "a set in a list": [{1}],
    "a time": [datetime(2024, 1, 1, tzinfo=UTC)],
    "a record": Usage(),
    "an object": object(),
    "unset": [UNSET],
    "more than 200 levels": nested(201),
    "far more than 200 levels": nested(100_000),
    "a cycle": cyclic(),
    "more than 4,300 digits": 10**4_300,
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
    good = await store.tool_calls.create("s", "ls", None)
    for name, value in NOT_JSON.items():
        with pytest.raises(PayloadInvalid):
            await door(store, value)
            pytest.fail(f"{name} was taken")
    state = await store.sessions.load("s")
    assert state is not None and good in state.tool_calls
    read = state.session
    assert (read.message_head, read.event_head, read.result) == (0, 0, None)
    calls = [
        (each.arguments, each.result, each.error_details) for each in state.tool_calls
    ]
    assert {*calls} == {(None, None, None)}
    assert await store.sessions.count() == 1


@every_door
async def test_too_many_bytes_are_payload_too_large_and_write_nothing(
    open_store: OpenStore, door: Door
) -> None:
    store = await open_store(payload_bytes_max=100)
    await store.sessions.create(id="s")
    with pytest.raises(PayloadTooLarge) as caught:
        await door(store, "é" * 50)
    assert caught.value.bytes_max == 100 < caught.value.size_bytes
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
    assert await session_config(store, nested(200)) == nested(200)


@pytest.mark.parametrize(
    "value", [10**4_299, 1 - 10**4_300, -(10**4_299)], ids=range(3)
)
async def test_an_integer_may_have_4300_digits(
    store: SessionStore, session: Session, value: int
) -> None:
    assert await event_data(store, value) == value
    assert await session_config(store, value) == value


def _has_no_pair(text: str) -> bool:
    return not re.search("[\ud800-\udbff][\udc00-\udfff]", text)


@every_door
async def test_surrogates_that_make_a_pair_come_back_as_the_character(
    store: SessionStore, session: Session, door: Door
) -> None:
    value = {"\ud83d\ude00": ["a\ud83d\ude00", "\ude00\ud83d\ude00"]}
    assert await door(store, value) == {"😀": ["a😀", "\ude00😀"]}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text()
        | st.text(st.characters(categories=["Cs", "Ll"])).filter(_has_no_pair),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
async def test_any_payload_comes_back_equal(
    store: SessionStore, session: Session, value: Any
) -> None:
    assert await event_data(store, value) == value
    assert await message_content(store, value) == value
    assert await session_config(store, value) == value


# Text


@pytest.mark.parametrize(
    "text", ["", "a\x00b", "two\nlines\r\n", "'\"\\%_", "😀", "x" * 100_000], ids=len
)
async def test_free_text_comes_back_with_nul_too(
    store: SessionStore, session: Session, text: str
) -> None:
    fields: dict[str, Any] = {
        "title": text,
        "system_prompt": text,
        "user_prompt": text,
    }
    created = await store.sessions.create(metadata={"k": text}, **fields)
    assert created.metadata == {"k": text}
    prompts = (created.title, created.system_prompt, created.user_prompt)
    assert prompts == (text,) * 3
    assert await store.sessions.get(created.id) == created
    made = await store.sessions.update("s", error=text, **fields)
    await store.metadata.set("s", "k", text)
    message = await store.messages.append("s", "user", text)
    call = await store.tool_calls.create("s", "ls", {})
    updated = await store.tool_calls.update("s", call.id, output=text, error=text)
    state = await store.sessions.load("s")
    assert state is not None and made.title == text
    assert (state.messages, state.tool_calls) == ([message], [updated])
    assert (message.content, made.error) == (text, text)
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


# URLs


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///a.db?mode=ro",
        "sqlite://?cache=shared",
        "sqlite:///%ff.db",
        "sqlite:///a%00b.db",
        "sqlite://host/a.db",
        "sqlite:///a%2Fb.db",
        "sqlite:///a%2f..%2fb.db",
        "sqlite:///a%5Cb.db",
        "sqlite:///%2e%2E/b.db",
        "sqlite:///a/.%2e/b.db",
        "sqlite:///%2e/b.db",
        "sqlite:////a/%2e%2e/b.db",
        "sqlite:///~/b.db",
        f"sqlite:///{'x' * 5_000}",
        f"sqlite:///{'x/' * 3_000}y.db",
    ],
)
def test_an_unknown_option_or_path_of_a_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument):
        SessionStore(url)


def test_an_unknown_option_of_a_postgresql_url_is_refused() -> None:
    pytest.importorskip("asyncpg")
    with pytest.raises(InvalidArgument, match="nonsense"):
        SessionStore("postgresql://nobody@nowhere.invalid/store?nonsense=1")
