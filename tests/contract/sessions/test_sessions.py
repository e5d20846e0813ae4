"""``store.sessions``: creating, reading and deleting sessions."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.contract.sessions.fields import FIELDS
from tests.contract.sessions.wrong import WRONG
from tests.contract.statuses import ENDED, NOT_ENDED
from tests.contract.ways import OpenStore
from turnstore import (
    InvalidArgument,
    Question,
    Session,
    SessionExists,
    SessionFilter,
    SessionState,
    SessionStatus,
    SessionStore,
    Setting,
    ToolPolicy,
    Usage,
)

# create, get and load


async def test_create_needs_no_argument(store: SessionStore) -> None:
    before = datetime.now(UTC)
    made = await store.sessions.create()
    assert before <= made.created_at == made.updated_at <= datetime.now(UTC)
    assert made == Session(
        id=made.id, created_at=made.created_at, updated_at=made.created_at
    )
    assert made.status is SessionStatus.IDLE
    assert made.usage == Usage()
    assert await store.sessions.get(made.id) == made


async def test_create_refuses_an_id_that_is_there(
    store: SessionStore, session: Session
) -> None:
    with pytest.raises(SessionExists) as caught:
        await store.sessions.create(id="s", title="t", metadata={"a": "b"})
    assert caught.value.session_id == "s"
    assert await store.sessions.get("s") == session


async def test_of_gathered_creates_with_one_id_the_first_wins(
    store: SessionStore,
) -> None:
    outcomes = await asyncio.gather(
        *(store.sessions.create(id="new", title=str(n)) for n in range(3)),
        return_exceptions=True,
    )
    kinds = [type(each) for each in outcomes]
    assert kinds == [Session, SessionExists, SessionExists]
    assert await store.sessions.get("new") == outcomes[0]


@pytest.mark.parametrize("status", [*NOT_ENDED, *ENDED])
async def test_create_takes_each_status(store: SessionStore, status: str) -> None:
    made = await store.sessions.create(status=status)
    assert made.status is SessionStatus(status)
    assert (made.ended_at is not None) == (status in ENDED)


@pytest.mark.parametrize(
    "wrong", [*WRONG, {"created_at": datetime(2024, 1, 1)}], ids=str
)
async def test_create_refuses_what_is_no_field_value(
    store: SessionStore, wrong: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgument):
        await store.sessions.create(id="new", **wrong)
    assert await store.sessions.get("new") is None


async def test_none_and_empty_stay_apart(store: SessionStore) -> None:
    empty = await store.sessions.create(title="", config={})
    none = await store.sessions.create(title=None, config=None)
    assert (empty.title, empty.config) == ("", {})
    assert (none.title, none.config) == (None, None)
    assert await store.sessions.get(empty.id) == empty
    assert await store.sessions.get(none.id) == none


@pytest.mark.parametrize("config", [None, {}, [], "", 0, False], ids=repr)
async def test_configs_that_say_nothing_stay_apart(
    store: SessionStore, config: Any
) -> None:
    made = await store.sessions.create(config=config, title=None, project_root="")
    assert (made.config, type(made.config)) == (config, type(config))
    assert (made.title, made.project_root) == (None, "")
    assert await store.sessions.get(made.id) == made


async def test_a_tool_policy_without_a_field_is_not_none(store: SessionStore) -> None:
    made = await store.sessions.create(tool_policy=ToolPolicy())
    assert made.tool_policy == ToolPolicy()
    assert await store.sessions.get(made.id) == made


@pytest.mark.parametrize("name", ["title", "system_prompt", "user_prompt", "metadata"])
async def test_text_that_can_not_be_encoded_is_refused(
    store: SessionStore, name: str
) -> None:
    given: Any = {name: {"a": "\ud800"} if name == "metadata" else "\ud800"}
    with pytest.raises(InvalidArgument):
        await store.sessions.create(**given)
    assert await store.sessions.count() == 0


async def test_metadata_holds_any_text(store: SessionStore) -> None:
    texts = ["", "\x00", "'\"", "é"]
    pairs = {f"key {n} '\"\\%s😀": text for n, text in enumerate(texts)}
    made = await store.sessions.create(metadata=pairs)
    assert made.metadata == pairs
    for pair in pairs.items():
        given = SessionFilter(metadata=dict([pair]))
        assert (await store.sessions.list(given)).items == [made]


async def test_load_gives_the_session_its_messages_and_its_tool_calls(
    store: SessionStore, session: Session
) -> None:
    await store.sessions.create(id="other")
    for n in range(3):
        for name in ("s", "other"):
            message = await store.messages.append(name, "assistant", n)
            await store.tool_calls.create(
                name, "t", n, id=f"{9 - n}", message_id=message.id
            )
    found = await store.sessions.get("s")
    assert found is not None
    state = await store.sessions.load("s")
    assert state == SessionState(
        session=found,
        messages=await store.messages.list("s"),
        tool_calls=await store.tool_calls.list("s"),
    )
    assert [each.content for each in state.messages] == [0, 1, 2]
    assert [each.arguments for each in state.tool_calls] == [0, 1, 2]
    assert (found.message_count, found.tool_call_count) == (3, 3)


async def test_load_is_one_snapshot(store: SessionStore, session: Session) -> None:
    """Session, messages and tool calls are of one moment, whatever is written."""

    async def write() -> None:
        async with store.turn("s") as turn:
            turn.message("assistant", "x")
            turn.tool_call("t", {})

    for _ in range(10):
        outcomes = await asyncio.gather(
            write(), store.sessions.load("s"), write(), store.sessions.load("s")
        )
        for state in (outcomes[1], outcomes[3]):
            assert state is not None
            counts = (state.session.message_count, state.session.tool_call_count)
            assert counts == (len(state.messages), len(state.tool_calls))
            assert len(state.messages) == len(state.tool_calls)


async def test_ids_are_told_apart_by_their_characters_alone(
    store: SessionStore,
) -> None:
    names = ["a", "A", "á", "a ", "a-", "a_", "ａ"]
    for name in names:
        await store.sessions.create(id=name, agent_name=name)
    for name in names:
        found = await store.sessions.get(name)
        assert found is not None and found.agent_name == name


# delete


async def test_delete_tells_whether_there_was_one(
    store: SessionStore, session: Session
) -> None:
    outcomes = await asyncio.gather(*(store.sessions.delete("s") for _ in range(3)))
    assert outcomes == [True, False, False]
    assert await store.sessions.delete("gone") is False


async def test_the_children_of_a_deleted_session_stay(
    store: SessionStore, session: Session
) -> None:
    child = await store.sessions.create(parent_session_id="s")
    await store.sessions.delete("s")
    assert await store.sessions.get(child.id) == child
    found = await store.sessions.list(SessionFilter(parent_session_id="s"))
    assert found.items == [child]


async def test_a_deleted_session_is_gone(store: SessionStore, session: Session) -> None:
    await store.sessions.delete("s")
    assert await store.sessions.get("s") is None
    assert await store.sessions.load("s") is None
    assert (await store.sessions.list()).items == []


@pytest.mark.parametrize(
    "room",
    [
        "messages.list",
        "tool_calls.list",
        "events.list",
        "metadata.all",
        "todos.get",
        "questions.list",
        "settings.list",
    ],
)
async def test_delete_takes_what_is_in_every_room(
    store: SessionStore, room: str
) -> None:
    """A new session with the id has nothing of the deleted one."""
    place, _, name = room.partition(".")
    read = getattr(getattr(store, place), name)
    await fill_every_room(store, "s")
    assert await read("s")
    await store.sessions.delete("s")
    await store.sessions.create(id="s")
    assert not await read("s")


async def test_delete_leaves_other_sessions_as_they_are(store: SessionStore) -> None:
    await fill_every_room(store, "s")
    await fill_every_room(store, "other")
    before = await store.sessions.load("other")
    await store.sessions.delete("s")
    assert await store.sessions.load("other") == before
    for given in (
        SessionFilter(),
        SessionFilter(title_contains="title"),
        SessionFilter(metadata={"k": "v"}),
        SessionFilter(has_pending_tool_calls=True),
    ):
        found = await store.sessions.list(given)
        assert [each.id for each in found.items] == ["other"]
    assert len(await store.events.list("other")) == 1
    assert await store.messages.recent_user(9) == ["other"]


async def test_usage_of_a_deleted_session_stays_in_by_day_only(
    store: SessionStore, session: Session
) -> None:
    used = Usage(prompt_tokens=3, api_calls=1)
    await store.messages.append("s", "assistant", usage=used)
    before = await store.usage.by_day(SessionFilter())
    await store.sessions.delete("s")
    assert list(before.values()) == [used]
    assert await store.usage.by_day(SessionFilter()) == before
    await store.sessions.create(id="s")
    assert await store.usage.session("s") == Usage()


# Several stores on one database


async def test_another_store_reads_what_was_acknowledged(
    open_shared: OpenStore,
) -> None:
    first, second = await open_shared(), await open_shared()
    made = await first.sessions.create(id="s", **FIELDS)
    assert await second.sessions.get("s") == made
    updated = await second.sessions.update("s", title="t")
    assert await first.sessions.get("s") == updated
    assert await first.sessions.delete("s") is True
    assert await second.sessions.delete("s") is False


async def test_of_two_stores_that_expect_a_status_one_wins(
    open_shared: OpenStore,
) -> None:
    stores = [await open_shared(), await open_shared()]
    await stores[0].sessions.create(id="s")
    outcomes = await asyncio.gather(
        *(
            each.sessions.update("s", status="running", expected_status="idle")
            for each in stores
        ),
        return_exceptions=True,
    )
    kinds = sorted(type(each).__name__ for each in outcomes)
    assert kinds == ["Session", "StatusConflict"]


async def fill_every_room(store: SessionStore, name: str) -> None:
    """Create a session that has one of everything."""
    await store.sessions.create(id=name, title="a title", metadata={"k": "v"})
    message = await store.messages.append(name, "user", name, usage=Usage())
    await store.tool_calls.create(name, "t", {}, message_id=message.id)
    await store.events.append(name, "e")
    await store.todos.set(name, "todo")
    await store.questions.store(name, [Question(question_id="q", question="?")])
    await store.settings.store(name, [Setting(setting_key="k", setting_name="K")])
