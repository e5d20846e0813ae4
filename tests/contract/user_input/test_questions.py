"""``store.questions`` and ``store.settings``: what agents ask and users answer."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from tests.contract.ways import OpenStore
from turnstore import (
    InvalidArgument,
    PayloadInvalid,
    Question,
    Session,
    SessionStore,
    Setting,
    ToolCallNotFound,
)

SECRET: Final = "hunter2"
MADE: Final[dict[str, Callable[..., Any]]] = {
    "questions": lambda name, **fields: Question(
        question_id=name, question="why?", **fields
    ),
    "settings": lambda name, **fields: Setting(
        setting_key=name, setting_name="Name", **fields
    ),
}

each_room = pytest.mark.parametrize("room", MADE)


def ids(several: list[Any]) -> list[str]:
    """Names of questions or of settings."""
    return [getattr(each, each.__struct_fields__[0]) for each in several]


def values(several: list[Any]) -> list[Any]:
    """What was answered, of questions or of settings."""
    return [
        each.answer if isinstance(each, Question) else each.value for each in several
    ]


# Both


@each_room
async def test_what_is_asked_waits_until_it_is_answered(
    store: SessionStore, session: Session, room: str
) -> None:
    one: Any = getattr(store, room)
    await one.store("s", [MADE[room]("a"), MADE[room]("b")])
    assert await one.answer("s", {"a": {"choice": [1, None]}}) == 1
    assert ids(await one.pending("s")) == ["b"]
    assert values(await one.list("s")) == [{"choice": [1, None]}, None]


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
    assert await one.answer("s", {"q": "second"}) == 1
    assert values(await one.list("s")) == ["second"]


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
    with pytest.raises(ToolCallNotFound):
        await one.store("s", [MADE[room]("q")], tool_call_id="c")
    assert await one.list("s") == []


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


# Each


async def test_a_question_is_of_text_by_default(
    store: SessionStore, session: Session
) -> None:
    given = Question(question_id="q", question="why?")
    [stored] = await store.questions.store("s", [given])
    assert stored == Question(
        question_id="q",
        question="why?",
        description=None,
        response_type="text",
        default=None,
        options=None,
        created_at=stored.created_at,
    )


async def test_a_setting_is_of_text_and_no_secret_by_default(
    store: SessionStore, session: Session
) -> None:
    given = Setting(setting_key="k", setting_name="K")
    [stored] = await store.settings.store("s", [given])
    assert (stored.setting_type, stored.secret, stored.value) == (
        *("text", False, None),
    )


async def test_an_answered_question_says_when(
    store: SessionStore, session: Session
) -> None:
    [asked] = await store.questions.store("s", [MADE["questions"]("q")])
    assert asked.answered_at is None
    await store.questions.answer("s", {"q": "because"})
    [found] = await store.questions.list("s")
    assert found.answered_at is not None and found.created_at is not None
    assert found.answered_at >= found.created_at


async def test_a_setting_may_come_with_its_value(
    store: SessionStore, session: Session
) -> None:
    await store.settings.store("s", [MADE["settings"]("k", value=[1])])
    assert await store.settings.pending("s") == []
    assert values(await store.settings.list("s")) == [[1]]


async def test_questions_and_settings_are_apart(
    store: SessionStore, session: Session
) -> None:
    await store.settings.store("s", [MADE["settings"]("k")])
    assert await store.questions.list("s") == []
    assert await store.questions.answer("s", {"k": 1}) == 0
    assert ids(await store.settings.pending("s")) == ["k"]


# Secrets


async def test_a_secret_value_is_read_and_not_shown(
    store: SessionStore, session: Session
) -> None:
    await store.settings.store("s", [MADE["settings"]("k", secret=True)])
    await store.settings.answer("s", {"k": {"password": SECRET}})
    [found] = await store.settings.list("s")
    assert found.value == {"password": SECRET}
    assert SECRET not in f"{found} {found!r} {[found]}"


async def test_a_secret_value_is_in_no_log(
    open_store: OpenStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    store = await open_store()
    await store.sessions.create(id="s")
    given = MADE["settings"]("k", secret=True, value=SECRET)
    await store.settings.store("s", [given])
    await store.settings.answer("s", {"k": SECRET + SECRET})
    assert values(await store.settings.list("s")) == [SECRET + SECRET]
    logging.getLogger("turnstore").debug("this is logged")
    assert "this is logged" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "wrong", [[SECRET, {SECRET}], {SECRET: float("nan")}, f"{SECRET}\ud800"]
)
async def test_a_refused_secret_value_is_in_no_error(
    store: SessionStore, session: Session, wrong: Any
) -> None:
    await store.settings.store("s", [MADE["settings"]("k", secret=True)])
    with pytest.raises(PayloadInvalid) as caught:
        await store.settings.answer("s", {"k": wrong})
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert ids(await store.settings.pending("s")) == ["k"]


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
