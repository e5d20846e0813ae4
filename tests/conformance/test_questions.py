"""``store.questions``: what agents ask the user, and the answers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from turnstore import (
    InvalidArgument,
    PayloadInvalid,
    PayloadTooLarge,
    Question,
    Session,
    SessionNotFound,
    SessionStore,
    StoreOptions,
    ToolCallNotFound,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def session(store: SessionStore) -> Session:
    return await store.sessions.create(id="s")


def question(id: str, text: str = "why?", **fields: Any) -> Question:
    return Question(question_id=id, question=text, **fields)


def ids(questions: list[Question]) -> list[str]:
    return [each.question_id for each in questions]


async def test_every_field_is_kept(store: SessionStore, session: Session) -> None:
    await store.tool_calls.create("s", "ask_user", {}, id="call")
    given = question(
        "q",
        "which\x00one? 😀",
        description="",
        response_type="multiselect",
        default={"a": [1.5, None]},
        options=["x", {"label": "y"}, 10**30],
    )
    before = datetime.now(UTC)
    [stored] = await store.questions.store("s", [given], tool_call_id="call")
    assert stored.created_at is not None
    assert before - timedelta(seconds=1) < stored.created_at
    assert stored == msgspec.structs.replace(
        given, tool_call_id="call", created_at=stored.created_at
    )
    assert await store.questions.list("s") == [stored]
    assert await store.questions.pending("s") == [stored]


async def test_a_plain_question_has_defaults(
    store: SessionStore, session: Session
) -> None:
    [stored] = await store.questions.store("s", [question("q")])
    assert (stored.response_type, stored.default, stored.options) == (
        "text",
        None,
        None,
    )
    assert (stored.answer, stored.answered_at, stored.tool_call_id) == (
        None,
        None,
        None,
    )


async def test_lists_are_in_order_of_storing(
    store: SessionStore, session: Session
) -> None:
    early = datetime(2000, 1, 1, tzinfo=UTC)
    await store.questions.store("s", [question("c"), question("a")])
    await store.questions.store("s", [question("b", created_at=early)])
    assert ids(await store.questions.list("s")) == ["c", "a", "b"]
    assert ids(await store.questions.pending("s")) == ["c", "a", "b"]


async def test_an_answer_ends_waiting(store: SessionStore, session: Session) -> None:
    await store.questions.store("s", [question("a"), question("b")])
    assert await store.questions.answer("s", {"b": {"choice": [1, None]}}) == 1
    first, second = await store.questions.list("s")
    assert await store.questions.pending("s") == [first]
    assert second.answer == {"choice": [1, None]}
    assert second.answered_at is not None and second.created_at is not None
    assert second.answered_at >= second.created_at


async def test_a_later_answer_replaces_an_earlier_one(
    store: SessionStore, session: Session
) -> None:
    await store.questions.store("s", [question("q")])
    await store.questions.answer("s", {"q": "one"})
    [before] = await store.questions.list("s")
    assert await store.questions.answer("s", {"q": ""}) == 1
    [after] = await store.questions.list("s")
    assert after.answer == ""
    assert before.answered_at is not None and after.answered_at is not None
    assert after.answered_at > before.answered_at
    assert await store.questions.pending("s") == []


async def test_none_takes_an_answer_back(store: SessionStore, session: Session) -> None:
    await store.questions.store("s", [question("q")])
    await store.questions.answer("s", {"q": 1})
    assert await store.questions.answer("s", {"q": None}) == 1
    [found] = await store.questions.pending("s")
    assert (found.answer, found.answered_at) == (None, None)


async def test_an_answer_goes_to_every_question_of_that_id_and_session(
    store: SessionStore, session: Session
) -> None:
    await store.sessions.create(id="other")
    await store.questions.store("s", [question("q"), question("p"), question("q")])
    await store.questions.store("other", [question("q")])
    answers = {"q": False, "unknown": 1}
    assert await store.questions.answer("s", answers) == 2
    assert [each.answer for each in await store.questions.list("s")] == [
        False,
        None,
        False,
    ]
    assert ids(await store.questions.pending("other")) == ["q"]


async def test_an_answer_to_nothing_touches_nothing(
    store: SessionStore, session: Session
) -> None:
    assert await store.questions.answer("s", {}) == 0
    assert await store.questions.answer("s", {"unknown": 1}) == 0
    assert await store.questions.store("s", []) == []
    read = await store.sessions.get("s")
    assert read is not None and read.updated_at == session.updated_at


async def test_storing_and_answering_touch_the_session(
    store: SessionStore, session: Session
) -> None:
    await store.questions.store("s", [question("q")])
    stored = await store.sessions.get("s")
    await store.questions.answer("s", {"q": 1})
    answered = await store.sessions.get("s")
    assert stored is not None and answered is not None
    assert session.updated_at < stored.updated_at < answered.updated_at


async def test_what_was_read_can_be_stored_elsewhere(
    store: SessionStore, session: Session
) -> None:
    await store.tool_calls.create("s", "ask", {}, id="call")
    await store.questions.store("s", [question("a"), question("b")], "call")
    await store.questions.answer("s", {"a": [1]})
    found = await store.questions.list("s")
    await store.sessions.create(id="copy")
    await store.tool_calls.create("copy", "ask", {}, id="call")
    assert await store.questions.store("copy", found) == found
    assert await store.questions.list("copy") == found


async def test_an_answer_given_at_once_is_of_now(
    store: SessionStore, session: Session
) -> None:
    [stored] = await store.questions.store("s", [question("q", answer="known")])
    assert stored.answered_at is not None
    assert stored.answered_at == stored.created_at
    assert await store.questions.pending("s") == []


async def test_a_tool_call_of_another_session_is_none(
    store: SessionStore, session: Session
) -> None:
    await store.sessions.create(id="other")
    await store.tool_calls.create("other", "ask", {}, id="call")
    with pytest.raises(ToolCallNotFound):
        await store.questions.store("s", [question("q")], tool_call_id="call")
    with pytest.raises(ToolCallNotFound):
        await store.questions.store(
            "other", [question("q"), question("p", tool_call_id="c2")], "call"
        )
    assert await store.questions.list("s") == []
    assert await store.questions.list("other") == []


async def test_gathered_calls_keep_their_order(store: SessionStore) -> None:
    names = ("a", "b", "c")
    for name in names:
        await store.sessions.create(id=name)
    found = await asyncio.gather(
        *(
            store.questions.store(name, [question(f"{number}"), question("all")])
            for number in range(20)
            for name in names
        ),
        *(store.questions.answer(name, {"all": name}) for name in names),
        store.questions.answer("a", {"all": "later"}),
    )
    assert found[60:] == [20, 20, 20, 20]
    for name in names:
        listed = ids(await store.questions.list(name))
        assert listed[::2] == [f"{number}" for number in range(20)]
    answers = {each.answer for each in await store.questions.list("a")}
    assert answers == {None, "later"}


async def test_an_unknown_session_fails_alone(
    store: SessionStore, session: Session
) -> None:
    found = await asyncio.gather(
        store.questions.store("none", [question("q")]),
        store.questions.answer("none", {"q": 1}),
        store.questions.list("none"),
        store.questions.pending("none"),
        store.questions.store("s", [question("q")]),
        return_exceptions=True,
    )
    assert [type(each) for each in found[:4]] == [SessionNotFound] * 4
    assert ids(await store.questions.list("s")) == ["q"]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (question(""), InvalidArgument),
        (question("q\x00"), InvalidArgument),
        (question("q", 5), InvalidArgument),  # type: ignore[arg-type]
        (question("q", "\ud800"), PayloadInvalid),
        (question("q", description=5), InvalidArgument),
        (question("q", response_type=None), InvalidArgument),
        (question("q", default=object()), PayloadInvalid),
        (question("q", options="abc"), PayloadInvalid),
        (question("q", options=[float("nan")]), PayloadInvalid),
        (question("q", answer="x" * 1_000), PayloadTooLarge),
        (question("q", created_at=datetime(2024, 1, 1)), InvalidArgument),
        (question("q", tool_call_id=""), InvalidArgument),
        ({"question_id": "q"}, InvalidArgument),
    ],
)
async def test_a_wrong_question_is_refused_with_all_of_its_call(
    store_path: Any, wrong: Any, error: type[Exception]
) -> None:
    async with SessionStore(store_path, StoreOptions(payload_bytes_max=500)) as store:
        await store.sessions.create(id="s")
        with pytest.raises(error):
            await store.questions.store("s", [question("good"), wrong])
        assert await store.questions.list("s") == []


@pytest.mark.parametrize("wrong", [5, [("q", 1)], {"": 1}, {5: 1}, {"q": {1, 2}}])
async def test_wrong_answers_are_refused(
    store: SessionStore, session: Session, wrong: Any
) -> None:
    await store.questions.store("s", [question("q")])
    with pytest.raises((InvalidArgument, PayloadInvalid)):
        await store.questions.answer("s", wrong)
    assert ids(await store.questions.pending("s")) == ["q"]


async def test_several_must_be_given(store: SessionStore, session: Session) -> None:
    wrong: Any = 5
    with pytest.raises(InvalidArgument):
        await store.questions.store("s", wrong)
    assert await store.questions.list("s") == []


async def test_a_deleted_session_takes_its_questions(
    store: SessionStore, session: Session
) -> None:
    await store.questions.store("s", [question("q")])
    await store.sessions.delete("s")
    await store.sessions.create(id="s")
    assert await store.questions.list("s") == []
