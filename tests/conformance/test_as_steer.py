"""What a runtime written for steer does, on this store."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from turnstore import (
    InvalidArgument,
    MessageNotFound,
    Role,
    Session,
    SessionFilter,
    SessionNotFound,
    SessionStatus,
    SessionStore,
    StatusConflict,
    ToolCallNotFound,
    ToolCallStatus,
    ToolPolicy,
)

pytestmark = pytest.mark.anyio

START = datetime(2026, 7, 1, 8, 0, tzinfo=UTC)
CONFIG = {
    "workspace": {"type": "local", "path": "/repo"},
    "tools": {"bash": {"approved_patterns": ["git status", "cargo *"]}},
    "visibility": {"whitelist": ["bash"]},
}


@pytest.fixture
async def session(store: SessionStore) -> Session:
    return await store.sessions.create(
        id="s", config=CONFIG, tool_policy=ToolPolicy(mode="always_ask")
    )


def text(content: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": content}]


async def get(store: SessionStore) -> Session:
    found = await store.sessions.get("s")
    assert found is not None
    return found


async def listed(store: SessionStore, **given: Any) -> list[str]:
    arguments = {
        name: given.pop(name)
        for name in ("order_by", "descending", "limit", "offset")
        if name in given
    }
    page = await store.sessions.list(SessionFilter(**given), **arguments)
    return [each.id for each in page.items]


# Opening


async def test_opening_makes_missing_folders(tmp_path: Path) -> None:
    path = tmp_path / "not" / "there" / "test.db"
    async with SessionStore(path) as store:
        made = await store.sessions.create()
    async with SessionStore(path) as store:
        assert await store.sessions.get(made.id) == made


# Sessions


async def test_a_session_is_created_and_read(
    store: SessionStore, session: Session
) -> None:
    made = await store.sessions.create(
        config=CONFIG, tool_policy=ToolPolicy(mode="always_ask")
    )
    assert made.id
    state = await store.sessions.load(made.id)
    assert state is not None
    assert state.session == made
    assert state.session.tool_policy == ToolPolicy(mode="always_ask")
    assert state.session.config["workspace"]["type"] == "local"
    assert (state.messages, state.tool_calls) == ([], [])


async def test_a_new_session_is_idle(store: SessionStore, session: Session) -> None:
    """steer says inactive, and nothing ever changes it."""
    assert session.status is SessionStatus.IDLE
    assert (await store.sessions.update("s", status="running")).status == "running"


async def test_the_whole_config_comes_back(
    store: SessionStore, session: Session
) -> None:
    """steer can't store a list of visible tools."""
    assert (await get(store)).config == CONFIG


@pytest.mark.parametrize(
    "policy",
    [
        ToolPolicy(mode="always_ask"),
        ToolPolicy(mode="pre_approved", tools=frozenset({"grep", "ls"})),
        ToolPolicy(mode="mixed", tools=frozenset({"grep"}), ask_for_others=True),
        ToolPolicy(mode="mixed", tools=frozenset({"grep"}), ask_for_others=False),
    ],
)
async def test_each_policy_comes_back_whole(
    store: SessionStore, policy: ToolPolicy
) -> None:
    """steer forgets whether to ask for the other tools."""
    made = await store.sessions.create(tool_policy=policy)
    found = await store.sessions.get(made.id)
    assert found is not None
    assert found.tool_policy == policy


async def test_a_session_that_is_not_there_is_none(store: SessionStore) -> None:
    assert await store.sessions.load("nowhere") is None


async def test_a_loaded_session_has_messages_calls_and_its_last_seq(
    store: SessionStore, session: Session
) -> None:
    """steer drops the results of tools."""
    said = await store.messages.append("s", "user", text("hi"), id="msg1")
    await store.tool_calls.create("s", "ls", {}, id="tc1")
    done = await store.tool_calls.update(
        "s", "tc1", status="completed", output="a b", result={"files": ["a", "b"]}
    )
    for _ in range(3):
        await store.events.append("s", "message_part")
    state = await store.sessions.load("s")
    assert state is not None
    assert (state.messages, state.tool_calls) == ([said], [done])
    assert done.result == {"files": ["a", "b"]}
    assert state.session.event_head == 3
    assert state.session.active_message_id == "msg1"


async def test_an_update_writes_metadata_policy_config_and_prompt(
    store: SessionStore, session: Session
) -> None:
    """steer leaves the system prompt as it was."""
    policy = ToolPolicy(mode="pre_approved", tools=frozenset({"ls"}))
    await store.sessions.update(
        "s",
        metadata={"branch": "main"},
        tool_policy=policy,
        config={"workspace": {"type": "remote"}},
        system_prompt="Be brief.",
    )
    found = await get(store)
    assert (found.metadata, found.tool_policy) == ({"branch": "main"}, policy)
    assert found.config == {"workspace": {"type": "remote"}}
    assert found.system_prompt == "Be brief."
    assert found.created_at == session.created_at
    assert found.updated_at > session.updated_at


async def test_updating_a_session_that_is_not_there_is_an_error(
    store: SessionStore,
) -> None:
    """steer takes it for done."""
    with pytest.raises(SessionNotFound):
        await store.sessions.update("nowhere", metadata={})


async def test_deleting_a_session_takes_its_messages_calls_and_events(
    store: SessionStore, session: Session
) -> None:
    await store.sessions.create(id="other")
    for name in ("s", "other"):
        await store.messages.append(name, "user", text("hi"))
        await store.tool_calls.create(name, "ls", {})
        await store.events.append(name, "message_part")
    await store.sessions.delete("s")
    assert await store.sessions.load("s") is None
    other = await store.sessions.load("other")
    assert other is not None
    assert (len(other.messages), len(other.tool_calls)) == (1, 1)
    assert other.session.event_head == 1
    assert await store.admin.check() == []


async def test_deleting_a_session_that_is_not_there_is_no_error(
    store: SessionStore,
) -> None:
    assert await store.sessions.delete("nowhere") is False


# Lists of sessions


@pytest.fixture
async def three(store: SessionStore) -> None:
    """Sessions 0, 1 and 2, each an hour and a message more."""
    for number in range(3):
        await store.sessions.create(
            id=str(number),
            metadata={"index": str(number), "kind": "test"},
            created_at=START + timedelta(hours=number),
        )
    # Touched in another order.
    for name in ("2", "0", "1"):
        for _ in range(int(name)):
            await store.messages.append(name, "user", text("hi"))
        await store.events.append(name, "session_saved")


async def test_a_list_has_at_most_its_limit(store: SessionStore, three: None) -> None:
    assert await listed(store, order_by="created_at", limit=2) == ["2", "1"]


async def test_a_listed_session_has_its_count_and_metadata(
    store: SessionStore, three: None
) -> None:
    page = await store.sessions.list()
    assert [(each.id, each.message_count) for each in page.items] == [
        ("2", 2),
        ("1", 1),
        ("0", 0),
    ]
    assert page.items[0].metadata == {"index": "2", "kind": "test"}


@pytest.mark.parametrize(
    ("order_by", "ascending"),
    [
        ("created_at", ["0", "1", "2"]),
        ("updated_at", ["2", "0", "1"]),
        ("message_count", ["0", "1", "2"]),
    ],
)
async def test_a_list_is_in_either_direction_of_each_order(
    store: SessionStore, three: None, order_by: str, ascending: list[str]
) -> None:
    assert await listed(store, order_by=order_by, descending=False) == ascending
    assert await listed(store, order_by=order_by) == ascending[::-1]


async def test_bounds_on_creation_include_the_bound(
    store: SessionStore, three: None
) -> None:
    middle = START + timedelta(hours=1)
    assert await listed(store, created_after=middle) == ["2", "1"]
    assert await listed(store, created_before=middle) == ["1", "0"]
    assert await listed(store, created_after=middle, created_before=middle) == ["1"]


async def test_bounds_on_updates_include_the_bound(
    store: SessionStore, three: None
) -> None:
    """steer compares two notations of time as text."""
    first = await store.sessions.get("0")
    assert first is not None
    at = first.updated_at
    assert await listed(store, updated_after=at, order_by="updated_at") == ["1", "0"]
    assert await listed(store, updated_before=at, order_by="updated_at") == ["0", "2"]


async def test_a_list_can_be_of_one_status(store: SessionStore, three: None) -> None:
    await store.sessions.update("1", status="running")
    assert await listed(store, status="running") == ["1"]
    assert await listed(store, status="idle") == ["2", "0"]


async def test_a_list_can_be_of_those_with_some_metadata(
    store: SessionStore, three: None
) -> None:
    """steer ignores this filter."""
    assert await listed(store, metadata={"index": "1", "kind": "test"}) == ["1"]
    assert await listed(store, metadata={"index": "1", "kind": "other"}) == []


async def test_the_order_by_messages_keeps_the_filters(
    store: SessionStore, three: None
) -> None:
    """steer loses them."""
    bound = START + timedelta(hours=1)
    found = await listed(store, created_before=bound, order_by="message_count")
    assert found == ["1", "0"]


async def test_an_offset_needs_no_limit(store: SessionStore, three: None) -> None:
    """In steer it is a syntax error."""
    assert await listed(store, offset=1) == ["1", "0"]
    assert await listed(store, offset=1, limit=1) == ["1"]


async def test_pages_follow_one_another_without_gap_or_repeat(
    store: SessionStore, three: None
) -> None:
    """In steer the third page repeats the second."""
    found, cursor = [], None
    for _ in range(3):
        page = await store.sessions.list(limit=1, cursor=cursor)
        found += [each.id for each in page.items]
        cursor = page.next_cursor
    assert (found, cursor) == (["2", "1", "0"], None)


async def test_the_last_model_is_that_of_the_newest_event_that_names_one(
    store: SessionStore, session: Session
) -> None:
    async def last_model() -> str | None:
        [found] = (await store.sessions.list()).items
        return found.last_model

    assert await last_model() is None
    said = {"message": {"role": "assistant", "content": text("Hello")}}
    await store.events.append("s", "message_complete", said, model="claude")
    assert await last_model() == "claude"
    failed = {"tool_call_id": "tool1", "error": "Test error"}
    await store.events.append("s", "tool_call_failed", failed, model="gpt")
    assert await last_model() == "gpt"
    await store.events.append("s", "session_saved", {"session_id": "s"})
    assert await last_model() == "gpt"


async def test_no_event_spoils_a_list(store: SessionStore, session: Session) -> None:
    """In steer a model that it no longer knows does."""
    await store.events.append("s", "message_complete", ["odd"], model="retired")
    [found] = (await store.sessions.list(SessionFilter(last_model="retired"))).items
    assert found.id == "s"


# Messages


async def test_a_message_is_appended_and_read(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append("s", "user", text("Hello"), id="msg1")
    [found] = await store.messages.list("s")
    assert (found.id, found.role, found.seq) == ("msg1", Role.USER, 1)
    assert found.content == text("Hello")


@pytest.mark.parametrize(
    ("role", "content"),
    [
        ("user", [{"command": "ls", "stdout": "a\n", "stderr": "", "exit_code": 0}]),
        ("assistant", [{"thought": {"text": "hm", "signature": "x"}}, *text("Hi")]),
        ("tool", {"tool_use_id": "tc1", "result": {"Bash": {"exit_code": 1}}}),
        ("system", "Be brief."),
    ],
)
async def test_content_of_any_shape_comes_back(
    store: SessionStore, session: Session, role: str, content: Any
) -> None:
    """steer can't read a message of role system."""
    await store.messages.append("s", role, content)
    [found] = await store.messages.list("s")
    assert (str(found.role), found.content) == (role, content)


async def test_the_time_of_a_message_is_its_own(
    store: SessionStore, session: Session
) -> None:
    """steer keeps the time of writing alone."""
    await store.messages.append("s", "user", text("hi"), created_at=START)
    [found] = await store.messages.list("s")
    assert found.created_at == START


async def test_messages_after_a_seq_exclude_it_and_0_means_all(
    store: SessionStore, session: Session
) -> None:
    """steer counts from 0, so that after=0 leaves out the first one."""
    for content in ("one", "two", "three"):
        await store.messages.append("s", "user", text(content))
    assert [each.seq for each in await store.messages.list("s")] == [1, 2, 3]
    assert [each.seq for each in await store.messages.list("s", after=0)] == [1, 2, 3]
    found = await store.messages.list("s", after=1)
    assert [each.content for each in found] == [text("two"), text("three")]
    assert await store.messages.list("s", after=3) == []


async def test_messages_of_an_unknown_session_are_an_error(
    store: SessionStore,
) -> None:
    """steer gives an empty list."""
    with pytest.raises(SessionNotFound):
        await store.messages.list("nowhere")
    with pytest.raises(SessionNotFound):
        await store.messages.append("nowhere", "user", text("hi"))


async def test_ids_are_unique_in_their_session_only(
    store: SessionStore, session: Session
) -> None:
    """In steer those of messages and tool calls are unique over all sessions."""
    await store.sessions.create(id="other")
    for name in ("s", "other"):
        await store.messages.append(name, "user", text(name), id="msg1")
        await store.tool_calls.create(name, "ls", {"in": name}, id="tc1")
    await store.tool_calls.update("s", "tc1", status="completed")
    [left] = await store.tool_calls.pending("other")
    assert left.arguments == {"in": "other"}


async def test_the_active_message_is_where_the_next_one_goes_on(
    store: SessionStore, session: Session
) -> None:
    for name in ("a", "b"):
        await store.messages.append("s", "user", text(name), id=name)
    await store.messages.set_active("s", "a")
    assert (await get(store)).active_message_id == "a"
    await store.messages.append("s", "user", text("c"), id="c")
    assert [each.id for each in await store.messages.branch("s")] == ["a", "c"]
    assert [each.id for each in await store.messages.branch("s", "b")] == ["a", "b"]
    assert (await get(store)).active_message_id == "c"


async def test_a_message_can_name_its_parent(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append("s", "user", text("a"), id="a")
    await store.messages.append("s", "user", text("b"), id="b")
    made = await store.messages.append("s", "user", text("c"), parent_id="a")
    assert made.parent_id == "a"


async def test_no_active_message_is_no_branch(
    store: SessionStore, session: Session
) -> None:
    """steer takes the last message then."""
    await store.messages.append("s", "user", text("a"), id="a")
    await store.messages.set_active("s", None)
    assert (await get(store)).active_message_id is None
    assert await store.messages.branch("s") == []


async def test_the_active_message_must_be_there(
    store: SessionStore, session: Session
) -> None:
    """steer does not look."""
    with pytest.raises(MessageNotFound):
        await store.messages.set_active("s", "nowhere")
    with pytest.raises(SessionNotFound):
        await store.messages.set_active("nowhere", None)
    assert await store.sessions.get("s") == session


# Tool calls


async def test_a_tool_call_is_pending_until_it_is_completed(
    store: SessionStore, session: Session
) -> None:
    await store.tool_calls.create("s", "test_tool", {"param": "value"}, id="tc1")
    [found] = await store.tool_calls.pending("s")
    assert (found.id, found.name) == ("tc1", "test_tool")
    assert found.arguments == {"param": "value"}
    assert (found.status, found.kind) == (ToolCallStatus.PENDING, "external")
    await store.tool_calls.update("s", "tc1", status="completed")
    assert await store.tool_calls.pending("s") == []


@pytest.mark.parametrize("status", ["approved", "executing"])
async def test_a_call_that_is_approved_or_runs_is_pending_too(
    store: SessionStore, session: Session, status: str
) -> None:
    """In steer a call is pending until it is approved."""
    await store.tool_calls.create("s", "ls", {}, id="tc1")
    await store.tool_calls.update("s", "tc1", status=status)
    assert [each.id for each in await store.tool_calls.pending("s")] == ["tc1"]
    assert await store.tool_calls.list("s", status="pending") == []


async def test_pending_calls_are_in_order_of_creation(
    store: SessionStore, session: Session
) -> None:
    """steer sorts them by id."""
    for name in ("b", "c", "a"):
        await store.tool_calls.create("s", "ls", {}, id=name)
    found = await store.tool_calls.pending("s")
    assert [each.id for each in found] == ["b", "c", "a"]


async def test_times_are_stamped_as_a_call_starts_and_ends(
    store: SessionStore, session: Session
) -> None:
    await store.tool_calls.create("s", "ls", {}, id="tc1")
    approved = await store.tool_calls.update("s", "tc1", status="approved")
    assert (approved.started_at, approved.completed_at) == (None, None)
    started = await store.tool_calls.update("s", "tc1", status="executing")
    assert started.started_at is not None
    assert started.completed_at is None
    done = await store.tool_calls.update("s", "tc1", status="completed")
    assert done.started_at == started.started_at
    assert done.completed_at is not None


async def test_a_denied_call_is_over(store: SessionStore, session: Session) -> None:
    """steer does not stamp when."""
    await store.tool_calls.create("s", "rm", {}, id="tc1")
    denied = await store.tool_calls.update("s", "tc1", status="denied")
    assert denied.completed_at is not None
    assert await store.tool_calls.pending("s") == []


async def test_a_result_has_text_data_kind_and_duration(
    store: SessionStore, session: Session
) -> None:
    """steer drops the duration."""
    await store.tool_calls.create("s", "bash", {}, id="tc1")
    await store.tool_calls.update(
        "s",
        "tc1",
        status="completed",
        kind="bash",
        output="ok",
        result={"stdout": "ok", "exit_code": 0},
        execution_time_ms=31,
    )
    found = await store.tool_calls.get("s", "tc1")
    assert found is not None
    assert (found.kind, found.output) == ("bash", "ok")
    assert found.result == {"stdout": "ok", "exit_code": 0}
    assert found.execution_time_ms == 31


async def test_text_alone_leaves_the_data_empty(
    store: SessionStore, session: Session
) -> None:
    """steer wraps the text as data of an unknown tool."""
    await store.tool_calls.create("s", "bash", {}, id="tc1")
    done = await store.tool_calls.update("s", "tc1", status="completed", output="ok")
    assert (done.output, done.result, done.kind) == ("ok", None, "external")


@pytest.mark.parametrize("given", [{}, {"status": "failed"}])
async def test_an_error_fails_a_call_and_keeps_its_text(
    store: SessionStore, session: Session, given: dict[str, Any]
) -> None:
    """steer needs the status beside it, and changes the kind to error."""
    await store.tool_calls.create("s", "bash", {}, id="tc1")
    details = {"tool_name": "bash", "exit_code": 127}
    failed = await store.tool_calls.update(
        "s", "tc1", error="not found", error_details=details, **given
    )
    assert (failed.status, failed.error) == (ToolCallStatus.FAILED, "not found")
    assert (failed.error_details, failed.kind) == (details, "external")
    assert failed.completed_at is not None


async def test_an_update_of_nothing_changes_nothing(
    store: SessionStore, session: Session
) -> None:
    made = await store.tool_calls.create("s", "ls", {}, id="tc1")
    assert await store.tool_calls.update("s", "tc1") == made
    assert await store.tool_calls.get("s", "tc1") == made


async def test_a_call_that_is_over_stays_so(
    store: SessionStore, session: Session
) -> None:
    """steer allows any change."""
    await store.tool_calls.create("s", "ls", {}, id="tc1")
    await store.tool_calls.update("s", "tc1", status="denied")
    with pytest.raises(StatusConflict) as caught:
        await store.tool_calls.update("s", "tc1", status="executing")
    assert caught.value.actual_status == "denied"


async def test_updating_a_call_that_is_not_there_is_an_error(
    store: SessionStore, session: Session
) -> None:
    """steer takes it for done."""
    with pytest.raises(ToolCallNotFound):
        await store.tool_calls.update("s", "tc1", status="completed")


# Events


async def test_the_first_event_has_seq_1_and_is_read_after_0(
    store: SessionStore, session: Session
) -> None:
    """In steer it has 0, which can only be read after the largest number there is."""
    data = {"session_id": "s", "metadata": {"model": "claude", "metadata": {}}}
    assert await store.events.head("s") == 0
    assert await store.events.append("s", "session_created", data) == 1
    [found] = await store.events.list("s", after=0)
    assert (found.seq, found.type, found.data) == (1, "session_created", data)
    assert await store.events.list("s", after=1) == []


@pytest.mark.parametrize("after", [-1, 2**64 - 1])
async def test_a_seq_out_of_range_is_refused(
    store: SessionStore, session: Session, after: int
) -> None:
    """In steer the largest number there is means -1."""
    with pytest.raises(InvalidArgument):
        await store.events.list("s", after=after)


async def test_events_are_in_order_and_at_most_the_limit(
    store: SessionStore, session: Session
) -> None:
    for part in range(5):
        await store.events.append("s", "message_part", {"content": part})
    found = await store.events.list("s", after=1, limit=3)
    assert [(each.seq, each.data["content"]) for each in found] == [
        (2, 1),
        (3, 2),
        (4, 3),
    ]


async def test_a_reader_follows_what_is_streamed(
    store: SessionStore, session: Session
) -> None:
    await store.events.append("s", "operation_started")
    async with store.events.follow("s", after=0) as events:
        assert (await anext(events)).type == "operation_started"
        await store.events.append("s", "operation_completed")
        assert (await anext(events)).seq == 2


async def test_two_writers_never_take_the_same_seq(
    store: SessionStore, second_store: SessionStore, session: Session
) -> None:
    """In steer one of them fails, and its event is lost."""
    given = [
        each.events.append("s", "message_part")
        for _ in range(20)
        for each in (store, second_store)
    ]
    assert sorted(await asyncio.gather(*given)) == list(range(1, 41))
    found = await store.events.list("s")
    assert [each.seq for each in found] == list(range(1, 41))


async def test_events_before_a_seq_are_deleted_and_counted(
    store: SessionStore, session: Session
) -> None:
    for _ in range(5):
        await store.events.append("s", "message_part")
    assert await store.events.delete_before("s", 4) == 3
    assert [each.seq for each in await store.events.list("s")] == [4, 5]
    assert await store.events.delete_before("s", 4) == 0


async def test_no_number_is_used_again_once_all_are_deleted(
    store: SessionStore, session: Session
) -> None:
    """steer begins at 0 again."""
    for _ in range(3):
        await store.events.append("s", "message_part")
    assert await store.events.delete_before("s", 4) == 3
    assert await store.events.append("s", "message_part") == 4
    assert await store.events.head("s") == 4


async def test_events_of_an_unknown_session_are_an_error(
    store: SessionStore,
) -> None:
    """steer gives an empty list, and deletes none."""
    with pytest.raises(SessionNotFound):
        await store.events.append("nowhere", "message_part")
    with pytest.raises(SessionNotFound):
        await store.events.list("nowhere")
    with pytest.raises(SessionNotFound):
        await store.events.delete_before("nowhere", 1)
