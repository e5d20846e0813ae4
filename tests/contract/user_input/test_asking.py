"""``store.questions`` and ``store.settings``: what agents ask and users answer.

What holds of both.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.contract.user_input.asking import MADE, each_room, ids, values
from tests.contract.ways import OpenStore
from turnstore import (
    InvalidArgument,
    PayloadInvalid,
    Session,
    SessionNotFound,
    SessionStore,
    ToolCallNotFound,
)


@each_room
async def test_what_is_asked_waits_until_it_is_answered(
    store: SessionStore, session: Session, room: str
) -> None:
    one: Any = getattr(store, room)
    await one.store("s", [MADE[room]("a"), MADE[room]("b")])
    assert await one.answer("s", {"a": {"choice": [1, None]}}) == 1
    answered, waiting = await one.list("s")
    assert await one.pending("s") == [waiting]
    assert ids([answered, waiting]) == ["a", "b"]
    assert values([answered, waiting]) == [{"choice": [1, None]}, None]
    assert answered.answered_at >= answered.created_at
    assert waiting.answered_at is None


@each_room
@pytest.mark.parametrize("answer", ["", "text", 0, False, [], {}])
async def test_any_json_but_none_is_an_answer(
    store: SessionStore, session: Session, room: str, answer: Any
) -> None:
    one: Any = getattr(store, room)
    await one.store("s", [MADE[room]("q")])
    assert await one.answer("s", {"q": answer}) == 1
    assert await one.pending("s") == []
    assert values(await one.list("s")) == [answer]


@each_room
async def test_a_later_answer_replaces_an_earlier_one(
    store: SessionStore, session: Session, room: str
) -> None:
    one: Any = getattr(store, room)
    await one.store("s", [MADE[room]("q")])
    await one.answer("s", {"q": "first"})
    [before] = await one.list("s")
    assert await one.answer("s", {"q": ""}) == 1
    [after] = await one.list("s")
    assert values([before, after]) == ["first", ""]
    assert after.answered_at > before.answered_at
    assert await one.pending("s") == []


@each_room
async def test_none_takes_an_answer_back(
    store: SessionStore, session: Session, room: str
) -> None:
    one: Any = getattr(store, room)
    await one.store("s", [MADE[room]("q")])
    await one.answer("s", {"q": 1})
    assert await one.answer("s", {"q": None}) == 1
    [found] = await one.pending("s")
    assert (values([found]), found.answered_at) == ([None], None)


@each_room
async def test_answer_counts_what_it_answered(
    store: SessionStore, session: Session, room: str
) -> None:
    one: Any = getattr(store, room)
    await one.store("s", [MADE[room]("a"), MADE[room]("b"), MADE[room]("a")])
    assert await one.answer("s", {"a": 1, "unknown": 2}) == 2
    assert values(await one.list("s")) == [1, None, 1]
    assert await one.answer("s", {"unknown": 1}) == 0
    assert await one.answer("s", {}) == 0


@each_room
async def test_asking_and_answering_touch_the_session(
    store: SessionStore, session: Session, room: str
) -> None:
    one: Any = getattr(store, room)
    await one.store("s", [MADE[room]("q")])
    asked = await store.sessions.get("s")
    await one.answer("s", {"q": 1})
    answered = await store.sessions.get("s")
    assert asked is not None and answered is not None
    assert session.updated_at < asked.updated_at < answered.updated_at


@each_room
async def test_asking_and_answering_nothing_leaves_the_session(
    store: SessionStore, session: Session, room: str
) -> None:
    one: Any = getattr(store, room)
    assert await one.store("s", []) == []
    assert await one.answer("s", {}) == 0
    assert await one.answer("s", {"unknown": 1}) == 0
    assert await store.sessions.get("s") == session


@each_room
async def test_what_is_asked_is_listed_in_order_of_storing(
    store: SessionStore, session: Session, room: str
) -> None:
    one: Any = getattr(store, room)
    early = datetime(2000, 1, 1, tzinfo=UTC)
    await one.store("s", [MADE[room]("c"), MADE[room]("a")])
    await one.store("s", [MADE[room]("b", created_at=early)])
    assert ids(await one.list("s")) == ["c", "a", "b"]
    assert ids(await one.pending("s")) == ["c", "a", "b"]


@each_room
async def test_what_is_asked_is_of_one_session(
    store: SessionStore, session: Session, room: str
) -> None:
    one: Any = getattr(store, room)
    await store.sessions.create(id="other")
    await one.store("s", [MADE[room]("q")])
    await one.store("other", [MADE[room]("q")])
    assert await one.answer("other", {"q": 1}) == 1
    assert ids(await one.pending("s")) == ["q"]


@each_room
async def test_what_is_asked_belongs_to_a_tool_call(
    store: SessionStore, session: Session, room: str
) -> None:
    one: Any = getattr(store, room)
    await store.tool_calls.create("s", "ask_user", {}, id="c")
    await one.store("s", [MADE[room]("q")], tool_call_id="c")
    await one.store("s", [MADE[room]("p")])
    assert [each.tool_call_id for each in await one.list("s")] == ["c", None]


@each_room
async def test_a_tool_call_of_another_session_asks_nothing(
    store: SessionStore, session: Session, room: str
) -> None:
    one: Any = getattr(store, room)
    await store.sessions.create(id="other")
    await store.tool_calls.create("other", "ask_user", {}, id="c")
    for call in (
        one.store("s", [MADE[room]("q")], tool_call_id="c"),
        one.store("s", [MADE[room]("q")], tool_call_id="unknown"),
        one.store("other", [MADE[room]("q"), MADE[room]("p", tool_call_id="d")], "c"),
    ):
        with pytest.raises(ToolCallNotFound):
            await call
    assert await one.list("s") == []
    assert await one.list("other") == []


@each_room
async def test_what_was_read_can_be_stored_elsewhere(
    store: SessionStore, session: Session, room: str
) -> None:
    one: Any = getattr(store, room)
    await store.sessions.create(id="copy")
    for name in ("s", "copy"):
        await store.tool_calls.create(name, "ask_user", {}, id="c")
    await one.store("s", [MADE[room]("a"), MADE[room]("b")], "c")
    await one.answer("s", {"a": [1]})
    found = await one.list("s")
    assert await one.store("copy", found) == found
    assert await one.list("copy") == found


@each_room
@pytest.mark.parametrize(
    "wrong", ["", "q\x00", "q" * 256, 5], ids=["empty", "NUL", "long", "no text"]
)
async def test_one_wrong_name_refuses_all_that_is_asked(
    store: SessionStore, session: Session, room: str, wrong: Any
) -> None:
    one: Any = getattr(store, room)
    with pytest.raises(InvalidArgument):
        await one.store("s", [MADE[room]("good"), MADE[room](wrong)])
    assert await one.list("s") == []


@each_room
async def test_one_wrong_answer_refuses_all_answers(
    store: SessionStore, session: Session, room: str
) -> None:
    one: Any = getattr(store, room)
    await one.store("s", [MADE[room]("a"), MADE[room]("b")])
    with pytest.raises(PayloadInvalid):
        await one.answer("s", {"a": 1, "b": {1, 2}})
    assert ids(await one.pending("s")) == ["a", "b"]


@each_room
@pytest.mark.parametrize("wrong", [5, [("q", 1)], {"": 1}, {5: 1}], ids=str)
async def test_what_is_no_mapping_of_answers_is_refused(
    store: SessionStore, session: Session, room: str, wrong: Any
) -> None:
    one: Any = getattr(store, room)
    await one.store("s", [MADE[room]("q")])
    with pytest.raises(InvalidArgument):
        await one.answer("s", wrong)
    assert ids(await one.pending("s")) == ["q"]


@each_room
async def test_what_is_no_list_of_what_to_ask_is_refused(
    store: SessionStore, session: Session, room: str
) -> None:
    one: Any = getattr(store, room)
    with pytest.raises(InvalidArgument):
        await one.store("s", 5)
    assert await one.list("s") == []


@each_room
async def test_an_unknown_session_fails_alone(
    store: SessionStore, session: Session, room: str
) -> None:
    one: Any = getattr(store, room)
    outcomes = await asyncio.gather(
        one.store("gone", [MADE[room]("q")]),
        one.answer("gone", {"q": 1}),
        one.store("s", [MADE[room]("q")]),
        return_exceptions=True,
    )
    assert [type(each) for each in outcomes] == [*[SessionNotFound] * 2, list]
    assert ids(await one.list("s")) == ["q"]


@each_room
async def test_gathered_stores_and_answers_keep_their_order(
    store: SessionStore, session: Session, room: str
) -> None:
    one: Any = getattr(store, room)
    found = await asyncio.gather(
        one.store("s", [MADE[room]("q")]),
        one.answer("s", {"q": 1}),
        one.store("s", [MADE[room]("q")]),
        one.answer("s", {"q": 2}),
        one.store("s", [MADE[room]("q")]),
    )
    assert [found[1], found[3]] == [1, 2]
    assert values(await one.list("s")) == [2, 2, None]


@each_room
async def test_gathered_stores_and_answers_of_several_sessions_keep_their_order(
    store: SessionStore, room: str
) -> None:
    one: Any = getattr(store, room)
    names = ("a", "b", "c")
    for name in names:
        await store.sessions.create(id=name)
    found = await asyncio.gather(
        *(
            one.store(name, [MADE[room](f"{number}"), MADE[room]("all")])
            for number in range(20)
            for name in names
        ),
        *(one.answer(name, {"all": name}) for name in names),
        one.answer("a", {"all": "later"}),
    )
    assert found[60:] == [20, 20, 20, 20]
    for name, answer in zip(names, ("later", "b", "c"), strict=True):
        listed = await one.list(name)
        assert ids(listed)[::2] == [f"{number}" for number in range(20)]
        assert values(listed) == [None, answer] * 20


# Several stores on one database


@each_room
async def test_another_store_answers_what_one_asks(
    open_shared: OpenStore, room: str
) -> None:
    asking, answering = await open_shared(), await open_shared()
    await asking.sessions.create(id="s")
    await getattr(asking, room).store("s", [MADE[room]("q")])
    assert await getattr(answering, room).answer("s", {"q": 1}) == 1
    assert await getattr(asking, room).pending("s") == []
