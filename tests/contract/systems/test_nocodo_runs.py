"""What a runtime written for nocodo asks its user, and how it runs agents."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.support.seeds import as_nocodo
from tests.support.seeds.as_nocodo import STARTED
from turnstore import (
    MessageNotFound,
    Question,
    Role,
    Session,
    SessionStatus,
    SessionStore,
    Setting,
    ToolCallStatus,
)

session = as_nocodo.session

# Questions and settings


async def test_questions_are_pending_until_they_are_answered(
    store: SessionStore, session: Session
) -> None:
    call = await store.tool_calls.create("1", "ask_user", {})
    await store.questions.store(
        "1",
        [
            Question(question_id="goal", question="What is it for?"),
            Question(
                question_id="file",
                question="Which file?",
                description="With its folder.",
                response_type="file_path",
                default="/data",
                options=["/data", "/tmp"],
            ),
        ],
        tool_call_id=call.id,
    )
    assert await store.questions.answer("1", {"goal": "a report"}) == 1
    [left] = await store.questions.pending("1")
    assert (left.question_id, left.response_type) == ("file", "file_path")
    assert (left.default, left.options) == ("/data", ["/data", "/tmp"])
    assert left.tool_call_id == call.id
    [answered, _] = await store.questions.list("1")
    assert answered.answer == "a report"
    assert answered.answered_at is not None


async def test_an_answer_goes_to_every_question_of_its_id_and_to_no_other_session(
    store: SessionStore, session: Session
) -> None:
    await store.sessions.create(id="2")
    asked = Question(question_id="goal", question="What is it for?")
    await store.questions.store("1", [asked, asked])
    await store.questions.store("2", [asked])
    assert await store.questions.answer("1", {"goal": "x", "unasked": "y"}) == 2
    assert await store.questions.pending("1") == []
    assert len(await store.questions.pending("2")) == 1


async def test_settings_are_pending_until_they_have_a_value(
    store: SessionStore, session: Session
) -> None:
    call = await store.tool_calls.create("1", "settings", {})
    await store.settings.store(
        "1",
        [
            Setting(setting_key="host", setting_name="Mail host"),
            Setting(
                setting_key="password",
                setting_name="Password",
                setting_type="password",
                secret=True,
            ),
        ],
        tool_call_id=call.id,
    )
    pending = await store.settings.pending("1")
    assert [each.setting_key for each in pending] == ["host", "password"]
    given = {"host": "mail.example", "password": "hunter2"}
    assert await store.settings.answer("1", given) == 2
    assert await store.settings.pending("1") == []
    found = await store.settings.list("1")
    assert {each.setting_key: each.value for each in found} == given
    assert all(each.answered_at is not None for each in found)
    assert all(each.tool_call_id == call.id for each in found)


async def test_a_secret_setting_shows_nowhere(
    store: SessionStore, session: Session
) -> None:
    """nocodo shows passwords like any other value."""
    wanted = Setting(setting_key="password", setting_name="Password", secret=True)
    await store.settings.store("1", [wanted])
    await store.settings.answer("1", {"password": "hunter2"})
    [found] = await store.settings.list("1")
    assert found.value == "hunter2"
    assert "hunter2" not in f"{found!r} {found}"


# Runs of agents, and what is shown of them


async def test_a_run_is_recorded_step_by_step(store: SessionStore) -> None:
    run = await store.sessions.create(
        agent_name="sqlite",
        user_prompt="List all tables",
        config={"type": "sqlite", "db_path": "/data/shop.db"},
        status="running",
    )
    await store.messages.append(run.id, "user", "List all tables")
    assert [each.role for each in await store.messages.list(run.id)] == [Role.USER]
    asked = await store.messages.append(run.id, "assistant", "Using tools")
    call = await store.tool_calls.create(
        run.id, "sqlite_reader", {"mode": "reflect"}, message_id=asked.id
    )
    await store.tool_calls.update(run.id, call.id, status="executing")
    await store.tool_calls.update(
        run.id, call.id, status="completed", result=["users"], execution_time_ms=3
    )
    await store.messages.append(run.id, "tool", "Tables: users")
    await store.messages.append(run.id, "assistant", "There is one: users.")
    await store.sessions.update(run.id, status="completed", result="users")
    shown = await store.sessions.load(run.id)
    assert shown is not None
    assert (shown.session.status, shown.session.result) == ("completed", "users")
    assert [str(each.role) for each in shown.messages] == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    [done] = shown.tool_calls
    assert (done.status, done.result) == (ToolCallStatus.COMPLETED, ["users"])
    assert done.message_id == asked.id
    assert await store.tool_calls.pending(run.id) == []


async def test_a_step_is_one_transaction(store: SessionStore, session: Session) -> None:
    """nocodo commits the message, the call and its result one by one."""
    with pytest.raises(MessageNotFound):
        async with store.turn("1") as turn:
            asked = turn.message("assistant", "Using tools")
            call = turn.tool_call("query", {}, message_id=asked)
            turn.update_tool_call(call, status="completed", result=[])
            turn.message("tool", "[]", parent_id="404")
    assert await store.sessions.get("1") == session
    async with store.turn("1") as turn:
        asked = turn.message("assistant", "Using tools")
        call = turn.tool_call("query", {}, message_id=asked)
        turn.update_tool_call(call, status="completed", result=[])
        turn.message("tool", "[]")
    state = await store.sessions.load("1")
    assert state is not None
    assert [each.content for each in state.messages] == ["Using tools", "[]"]
    assert [str(each.status) for each in state.tool_calls] == ["completed"]


async def test_the_newest_50_sessions_are_listed(store: SessionStore) -> None:
    for number in range(52):
        at = STARTED + timedelta(seconds=number)
        await store.sessions.create(id=str(number), created_at=at)
    page = await store.sessions.list()
    assert [each.id for each in page.items] == [str(each) for each in range(51, 1, -1)]


async def test_answers_resume_the_session(
    store: SessionStore, session: Session
) -> None:
    asked = Question(question_id="goal", question="What is it for?")
    await store.questions.store("1", [asked])
    await store.sessions.update("1", status="waiting_for_user_input")
    await store.questions.answer("1", {"goal": "a report"})
    async with store.turn("1") as turn:
        turn.message("user", "What is it for? a report")
        turn.update_session(status="running")
    found = await store.sessions.get("1")
    assert found is not None
    assert (found.status, found.message_count) == (SessionStatus.RUNNING, 1)
    assert await store.questions.pending("1") == []


async def test_what_a_crash_left_open_is_closed(
    store: SessionStore, session: Session
) -> None:
    """nocodo leaves it running for ever."""
    await store.tool_calls.create("1", "query", {}, status="executing")
    await store.admin.recover()
    found = await store.sessions.get("1")
    assert found is not None
    assert found.status is SessionStatus.INTERRUPTED
    assert await store.tool_calls.pending("1") == []
