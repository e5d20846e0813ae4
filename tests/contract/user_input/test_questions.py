"""``store.questions``: what holds of questions alone."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import pytest

from tests.contract.user_input.asking import MADE
from tests.contract.ways import OpenStore
from turnstore import (
    InvalidArgument,
    PayloadInvalid,
    PayloadTooLarge,
    Question,
    Session,
    SessionStore,
)

question: Final = MADE["questions"]
WRONG: Final[list[tuple[Any, type[Exception]]]] = [
    (Question(question_id="q", question=5), InvalidArgument),  # type: ignore[arg-type]
    (Question(question_id="q", question="\ud800"), InvalidArgument),
    (question("q", description=5), InvalidArgument),
    (question("q", response_type=None), InvalidArgument),
    (question("q", default=object()), PayloadInvalid),
    (question("q", options="abc"), PayloadInvalid),
    (question("q", options=[float("nan")]), PayloadInvalid),
    (question("q", answer="x" * 1_000), PayloadTooLarge),
    (question("q", created_at=datetime(2024, 1, 1)), InvalidArgument),
    (question("q", tool_call_id=""), InvalidArgument),
    ({"question_id": "q"}, InvalidArgument),
]


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
        answer=None,
        tool_call_id=None,
        created_at=stored.created_at,
        answered_at=None,
    )


async def test_a_question_may_come_with_its_answer(
    store: SessionStore, session: Session
) -> None:
    [stored] = await store.questions.store("s", [question("q", answer="known")])
    assert stored.created_at == stored.answered_at is not None
    assert await store.questions.list("s") == [stored]
    assert await store.questions.pending("s") == []


@pytest.mark.parametrize(("wrong", "error"), WRONG, ids=range(len(WRONG)))
async def test_one_wrong_question_refuses_all_of_its_call(
    open_store: OpenStore, wrong: Any, error: type[Exception]
) -> None:
    store = await open_store(payload_bytes_max=500)
    await store.sessions.create(id="s")
    with pytest.raises(error):
        await store.questions.store("s", [question("good"), wrong])
    assert await store.questions.list("s") == []
