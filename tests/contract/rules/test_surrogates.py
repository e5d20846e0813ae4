"""Half of a character that was cut, such as ``\\ud83d`` of an emoji: kept in payloads,
refused elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import pytest

from turnstore import (
    InvalidArgument,
    NewEvent,
    NewMessage,
    Role,
    Session,
    SessionFilter,
    SessionStore,
)

CUT: Final = "cut \ud83d"
PAIR: Final = "\ud83d\ude00"

Door: TypeAlias = Callable[[SessionStore, str], Awaitable[Any]]

REFUSING: Final[dict[str, Door]] = {
    "id": lambda store, text: store.sessions.create(id=text),
    "title": lambda store, text: store.sessions.update("s", title=text),
    "agent_name": lambda store, text: store.sessions.create(agent_name=text),
    "system_prompt": lambda store, text: store.sessions.update("s", system_prompt=text),
    "error": lambda store, text: store.sessions.update("s", error=text),
    "metadata key": lambda store, text: store.metadata.set("s", text, "v"),
    "metadata value": lambda store, text: store.metadata.set("s", "k", text),
    "metadata of update": lambda store, text: store.sessions.update(
        "s", metadata={"k": text}
    ),
    "message name": lambda store, text: store.messages.append("s", "user", name=text),
    "tool_call_id": lambda store, text: store.messages.append(
        "s", "tool", tool_call_id=text
    ),
    "tool name": lambda store, text: store.tool_calls.create("s", text, None),
    "call_id": lambda store, text: store.tool_calls.create(
        "s", "ls", None, call_id=text
    ),
    "event type": lambda store, text: store.events.append("s", text),
    "title_contains": lambda store, text: store.sessions.list(
        SessionFilter(title_contains=text)
    ),
}


@pytest.mark.parametrize("name", REFUSING)
async def test_outside_of_payloads_it_is_refused(
    store: SessionStore, session: Session, name: str
) -> None:
    before = await store.sessions.get("s")
    with pytest.raises(InvalidArgument, match="lone surrogate"):
        await REFUSING[name](store, CUT)
    assert await store.sessions.get("s") == before
    await REFUSING[name](store, PAIR)


async def test_a_pair_is_the_character_outside_of_payloads_too(
    store: SessionStore,
) -> None:
    made = await store.sessions.create(id=PAIR, title=PAIR, metadata={PAIR: PAIR})
    assert (made.id, made.title, made.metadata) == ("😀", "😀", {"😀": "😀"})
    assert await store.sessions.get("😀") == await store.sessions.get(PAIR) == made
    found = await store.sessions.list(
        SessionFilter(title_contains=PAIR, metadata={PAIR: PAIR})
    )
    assert found.items == [made]


async def test_the_output_and_the_error_of_a_call_keep_it(
    store: SessionStore, session: Session
) -> None:
    call = await store.tool_calls.create("s", "ls", {"path": CUT})
    made = await store.tool_calls.update("s", call.id, output=CUT + "\x00", error=CUT)
    assert (made.arguments, made.output, made.error) == (
        {"path": CUT},
        CUT + "\x00",
        CUT,
    )
    assert await store.tool_calls.list("s") == [made]
    state = await store.sessions.load("s")
    assert state is not None and state.tool_calls == [made]


async def test_every_read_of_several_rows_keeps_it(
    store: SessionStore, session: Session
) -> None:
    texts = ["whole 😀", CUT, "a\x00b", "\ude00 at the front", "plain"]
    await store.messages.append_many(
        "s", [NewMessage(role="user", content=each) for each in texts]
    )
    await store.events.append_many(
        "s", [NewEvent(type="e", data={"text": each}) for each in texts]
    )
    await store.messages.append("s", Role.ASSISTANT, 10**4_299)  # many digits as well
    fork = await store.sessions.fork("s")

    for name in ("s", fork.id):
        listed = await store.messages.list(name, role="user")
        streamed = [each.data["text"] async for each in store.events.stream(name)]
        context = await store.messages.context(name)
        assert [each.content for each in listed] == texts
        assert streamed == texts
        assert [each.content for each in context[:5]] == texts
    assert set(await store.messages.recent_user(10)) == set(texts)
    assert [each.created_at for each in listed] == [
        each.created_at for each in await store.messages.list("s", role="user")
    ]


async def test_a_summary_keeps_it(store: SessionStore, session: Session) -> None:
    for n in range(6):
        await store.messages.append("s", "user", f"{n}")
    done = await store.messages.compact("s", CUT, preserve=1)
    assert done.summary_message is not None and done.summary_message.content == CUT
    assert (await store.messages.context("s"))[0].content == CUT
