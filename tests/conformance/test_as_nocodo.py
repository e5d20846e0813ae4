"""What a runtime written for nocodo does, on this store."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from turnstore import (
    InvalidArgument,
    MessageNotFound,
    Question,
    Role,
    Session,
    SessionNotFound,
    SessionStatus,
    SessionStore,
    Setting,
    ToolCallNotFound,
    ToolCallStatus,
)

pytestmark = pytest.mark.anyio

STARTED = datetime(2026, 2, 3, 10, 15, tzinfo=UTC)


@pytest.fixture
async def session(store: SessionStore) -> Session:
    """A session as a request for an agent run makes it."""
    return await store.sessions.create(
        id="1",
        agent_name="sqlite",
        provider="anthropic",
        model="claude",
        system_prompt="You read databases.",
        user_prompt="Which tables are there?",
        config={"type": "sqlite", "db_path": "/data/shop.db"},
        status="running",
        created_at=STARTED,
    )


# Start of the program


async def test_starting_makes_folders_file_and_tables(tmp_path: Path) -> None:
    path = tmp_path / "not" / "there" / "agents.db"
    async with SessionStore(f"sqlite:///{path}") as store:
        assert path.exists()
        assert (await store.sessions.list()).items == []
        assert await store.admin.check() == []


async def test_starting_again_finds_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "agents.db"
    async with SessionStore(path) as store:
        made = await store.sessions.create(agent_name="sqlite")
        said = await store.messages.append(made.id, "user", "hello")
    async with SessionStore(path) as store:
        assert await store.messages.list(made.id) == [said]


async def test_handlers_share_one_store(store: SessionStore) -> None:
    async def handle(number: int) -> list[object]:
        made = await store.sessions.create(agent_name="sqlite", status="running")
        await store.messages.append(made.id, "user", number)
        call = await store.tool_calls.create(made.id, "query", {"number": number})
        await store.tool_calls.update(made.id, call.id, status="completed")
        await store.messages.append(made.id, "assistant", -number)
        await store.sessions.update(made.id, status="completed")
        return [each.content for each in await store.messages.list(made.id)]

    told = await asyncio.gather(*(handle(number) for number in range(1, 21)))
    assert told == [[number, -number] for number in range(1, 21)]
    statuses = {each.status for each in (await store.sessions.list()).items}
    assert statuses == {SessionStatus.COMPLETED}


# Sessions


async def test_a_session_comes_back_with_every_field(
    store: SessionStore, session: Session
) -> None:
    found = await store.sessions.get("1")
    assert found == session
    assert found is not None
    assert (found.agent_name, found.provider, found.model) == (
        "sqlite",
        "anthropic",
        "claude",
    )
    assert found.system_prompt == "You read databases."
    assert found.user_prompt == "Which tables are there?"
    assert found.config == {"type": "sqlite", "db_path": "/data/shop.db"}
    assert (found.status, found.created_at) == (SessionStatus.RUNNING, STARTED)
    assert (found.ended_at, found.result, found.error) == (None, None, None)


async def test_ids_are_text_and_the_store_can_make_them(store: SessionStore) -> None:
    """nocodo numbers its sessions and ignores an id it is given."""
    made = await store.sessions.create(agent_name="sqlite")
    given = await store.sessions.create(id="17", agent_name="sqlite")
    assert isinstance(made.id, str)
    assert made.id != given.id == "17"


@pytest.mark.parametrize(
    "status", ["running", "completed", "failed", "waiting_for_user_input"]
)
async def test_each_status_of_a_session_comes_back(
    store: SessionStore, status: str
) -> None:
    made = await store.sessions.create(status=status)
    found = await store.sessions.get(made.id)
    assert found is not None
    assert str(found.status) == status


async def test_a_status_it_does_not_know_is_refused(
    store: SessionStore, session: Session
) -> None:
    """nocodo reads any other status as running."""
    with pytest.raises(InvalidArgument):
        await store.sessions.update("1", status="paused")
    assert await store.sessions.get("1") == session


@pytest.mark.parametrize("config", [None, {}, {"type_names": ["Café"], "depth": None}])
async def test_no_config_and_an_empty_one_are_not_the_same(
    store: SessionStore, config: Any
) -> None:
    """nocodo can't read a session back that has none."""
    made = await store.sessions.create(config=config)
    found = await store.sessions.get(made.id)
    assert found is not None
    assert found.config == config


@pytest.mark.parametrize("id", ["404", "no number"])
async def test_a_session_that_is_not_there_is_none(
    store: SessionStore, session: Session, id: str
) -> None:
    """For nocodo an id that is no number is an error."""
    assert await store.sessions.get(id) is None


async def test_an_update_ends_a_session_with_its_result(
    store: SessionStore, session: Session
) -> None:
    ended = STARTED + timedelta(seconds=9)
    await store.sessions.update(
        "1", status="completed", ended_at=ended, result="3 tables"
    )
    found = await store.sessions.get("1")
    assert found is not None
    assert (found.status, found.ended_at) == (SessionStatus.COMPLETED, ended)
    assert (found.result, found.error) == ("3 tables", None)
    assert (found.config, found.user_prompt) == (session.config, session.user_prompt)


async def test_a_failed_session_keeps_its_error_and_is_ended(
    store: SessionStore, session: Session
) -> None:
    found = await store.sessions.update("1", status="failed", error="no such file")
    assert (found.status, found.error) == (SessionStatus.FAILED, "no such file")
    assert found.ended_at is not None


async def test_a_session_waits_for_the_user_and_goes_on(
    store: SessionStore, session: Session
) -> None:
    waiting = await store.sessions.update("1", status="waiting_for_user_input")
    assert waiting.ended_at is None
    await store.sessions.update(
        "1", status="running", expected_status="waiting_for_user_input"
    )
    found = await store.sessions.get("1")
    assert found is not None
    assert (found.status, found.ended_at) == (SessionStatus.RUNNING, None)


async def test_updating_a_session_that_is_not_there_is_an_error(
    store: SessionStore,
) -> None:
    """nocodo takes it for done."""
    with pytest.raises(SessionNotFound):
        await store.sessions.update("404", status="completed")


# Messages


@pytest.mark.parametrize("role", ["user", "assistant", "system", "tool"])
async def test_a_message_of_each_role_comes_back(
    store: SessionStore, session: Session, role: str
) -> None:
    made = await store.messages.append("1", role, "text", created_at=STARTED)
    [found] = await store.messages.list("1")
    assert found == made
    assert (found.session_id, str(found.role)) == ("1", role)
    assert (found.content, found.created_at) == ("text", STARTED)


async def test_a_role_it_does_not_know_is_refused(
    store: SessionStore, session: Session
) -> None:
    """nocodo reads any other role as user."""
    with pytest.raises(InvalidArgument):
        await store.messages.append("1", "developer", "text")
    assert await store.messages.list("1") == []


async def test_messages_are_in_order_of_writing_whatever_their_times(
    store: SessionStore, session: Session
) -> None:
    """nocodo sorts by the caller's clock, in seconds."""
    for seconds, text in ((5, "one"), (5, "two"), (1, "three")):
        at = STARTED + timedelta(seconds=seconds)
        await store.messages.append("1", "user", text, created_at=at)
    found = await store.messages.list("1")
    assert [each.content for each in found] == ["one", "two", "three"]


async def test_a_message_needs_its_session(store: SessionStore) -> None:
    with pytest.raises(SessionNotFound):
        await store.messages.append("404", "user", "hello")


async def test_messages_of_a_session_that_is_not_there_are_an_error(
    store: SessionStore,
) -> None:
    """nocodo gives an empty list."""
    with pytest.raises(SessionNotFound):
        await store.messages.list("404")


# Tool calls


async def test_a_tool_call_comes_back_with_its_request(
    store: SessionStore, session: Session
) -> None:
    asked = await store.messages.append("1", "assistant", "Let me see.")
    made = await store.tool_calls.create(
        "1",
        "sqlite_reader",
        {"mode": "reflect", "target": None},
        call_id="toolu_01",
        message_id=asked.id,
        created_at=STARTED,
    )
    [found] = await store.tool_calls.list("1")
    assert found == made
    assert (found.session_id, found.message_id) == ("1", asked.id)
    assert (found.name, found.call_id) == ("sqlite_reader", "toolu_01")
    assert found.arguments == {"mode": "reflect", "target": None}
    assert (found.status, found.created_at) == (ToolCallStatus.PENDING, STARTED)
    assert (found.result, found.completed_at) == (None, None)


async def test_a_tool_call_needs_no_message(
    store: SessionStore, session: Session
) -> None:
    made = await store.tool_calls.create("1", "query", {})
    assert made.message_id is None


async def test_a_message_that_is_not_there_is_an_error(
    store: SessionStore, session: Session
) -> None:
    """nocodo writes the call without it when the id is no number."""
    with pytest.raises(MessageNotFound):
        await store.tool_calls.create("1", "query", {}, message_id="404")
    assert await store.tool_calls.list("1") == []


@pytest.mark.parametrize("status", ["pending", "executing", "completed", "failed"])
async def test_each_status_of_a_tool_call_comes_back(
    store: SessionStore, session: Session, status: str
) -> None:
    await store.tool_calls.create("1", "query", {}, status=status)
    [found] = await store.tool_calls.list("1")
    assert str(found.status) == status


async def test_a_providers_id_may_repeat(store: SessionStore, session: Session) -> None:
    first = await store.tool_calls.create("1", "query", {"n": 1}, call_id="call_0")
    second = await store.tool_calls.create("1", "query", {"n": 2}, call_id="call_0")
    await store.tool_calls.update("1", second.id, status="completed", result=2)
    found = await store.tool_calls.list("1")
    assert [(each.id, each.result) for each in found] == [
        (first.id, None),
        (second.id, 2),
    ]


async def test_an_update_completes_a_tool_call(
    store: SessionStore, session: Session
) -> None:
    call = await store.tool_calls.create("1", "query", {}, status="executing")
    response = {"rows": [["users"], ["orders"]], "truncated": False}
    await store.tool_calls.update(
        "1", call.id, status="completed", result=response, execution_time_ms=12
    )
    [found] = await store.tool_calls.list("1")
    assert (found.status, found.result) == (ToolCallStatus.COMPLETED, response)
    assert found.execution_time_ms == 12
    assert found.completed_at is not None


async def test_an_update_fails_a_tool_call_with_its_details(
    store: SessionStore, session: Session
) -> None:
    call = await store.tool_calls.create("1", "query", {})
    details = "near 'FORM': syntax error"
    await store.tool_calls.update("1", call.id, status="failed", error_details=details)
    [found] = await store.tool_calls.list("1")
    assert (found.status, found.error_details) == (ToolCallStatus.FAILED, details)
    assert found.completed_at is not None


async def test_an_update_leaves_what_it_does_not_name(
    store: SessionStore, session: Session
) -> None:
    """nocodo clears it."""
    call = await store.tool_calls.create("1", "query", {}, status="executing")
    await store.tool_calls.update("1", call.id, result={"rows": 3})
    done = await store.tool_calls.update("1", call.id, status="completed")
    assert done.result == {"rows": 3}
    cleared = await store.tool_calls.update("1", call.id, result=None)
    assert cleared.result is None


async def test_updating_a_tool_call_that_is_not_there_is_an_error(
    store: SessionStore, session: Session
) -> None:
    """nocodo takes it for done."""
    with pytest.raises(ToolCallNotFound):
        await store.tool_calls.update("1", "404", status="completed")


async def test_tool_calls_are_in_order_of_creation_whatever_their_times(
    store: SessionStore, session: Session
) -> None:
    """nocodo sorts by the caller's clock, in seconds."""
    for seconds, name in ((5, "one"), (5, "two"), (1, "three")):
        at = STARTED + timedelta(seconds=seconds)
        await store.tool_calls.create("1", name, {}, created_at=at)
    found = await store.tool_calls.list("1")
    assert [each.name for each in found] == ["one", "two", "three"]


async def test_executing_calls_are_pending_too(
    store: SessionStore, session: Session
) -> None:
    """nocodo gives those that nobody has begun; ``list(status=…)`` does so here."""
    for status in ("pending", "executing", "completed", "failed"):
        await store.tool_calls.create("1", status, {}, status=status)
    found = await store.tool_calls.pending("1")
    assert [each.name for each in found] == ["pending", "executing"]
    found = await store.tool_calls.list("1", status="pending")
    assert [each.name for each in found] == ["pending"]


async def test_tool_calls_of_a_session_that_is_not_there_are_an_error(
    store: SessionStore,
) -> None:
    """nocodo gives empty lists, and writes none."""
    with pytest.raises(SessionNotFound):
        await store.tool_calls.create("404", "query", {})
    with pytest.raises(SessionNotFound):
        await store.tool_calls.list("404")
    with pytest.raises(SessionNotFound):
        await store.tool_calls.pending("404")


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
    assert all(each.updated_at is not None for each in found)
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
