"""``store.messages``: appending and reading the conversation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any

import pytest

from turnstore import (
    InvalidArgument,
    Message,
    MessageExists,
    MessageNotFound,
    NewMessage,
    PayloadInvalid,
    Role,
    Session,
    SessionNotFound,
    SessionStore,
    Usage,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def session(store: SessionStore) -> Session:
    return await store.sessions.create(id="s")


async def get(store: SessionStore, session_id: str = "s") -> Session:
    read = await store.sessions.get(session_id)
    assert read is not None
    return read


async def contents(store: SessionStore, **where: Any) -> list[Any]:
    return [each.content for each in await store.messages.list("s", **where)]


async def fill(store: SessionStore, count: int) -> list[Message]:
    roles = ["user", "assistant", "tool"]
    new = [NewMessage(role=roles[n % 3], content=n) for n in range(1, count + 1)]
    return await store.messages.append_many("s", new)


async def test_append_keeps_every_field(store: SessionStore, session: Session) -> None:
    moment = datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    usage = Usage(prompt_tokens=1, completion_tokens=2, thinking_tokens=3, api_calls=4)
    calls = [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]
    await store.messages.append("s", "user", "root", id="root")
    made = await store.messages.append(
        "s",
        "assistant",
        [{"type": "text", "text": "x"}],
        id="m",
        tool_calls=calls,
        tool_call_id="t",
        name="n",
        usage=usage,
        agent_name="a",
        model="mo",
        parent_id="root",
        created_at=moment,
    )
    assert made == Message(
        id="m",
        session_id="s",
        seq=2,
        role=Role.ASSISTANT,
        content=[{"type": "text", "text": "x"}],
        tool_calls=calls,
        tool_call_id="t",
        name="n",
        agent_name="a",
        model="mo",
        parent_id="root",
        usage=usage,
        created_at=moment,
    )
    assert await store.messages.list("s", after=1) == [made]


@pytest.mark.parametrize("role", ["system", "user", "assistant", "tool"])
async def test_a_message_needs_only_a_role(
    store: SessionStore, session: Session, role: str
) -> None:
    made = await store.messages.append("s", role)
    assert made.role == role
    assert (made.content, made.tool_calls, made.usage) == (None, None, None)
    empty = await store.messages.append("s", Role(role), "", tool_calls=[])
    assert (empty.content, empty.tool_calls) == ("", [])
    assert await store.messages.list("s") == [made, empty]
    assert (await get(store)).updated_at > session.updated_at


async def test_append_refuses_what_is_there_or_not_there(
    store: SessionStore, session: Session
) -> None:
    first = await store.messages.append("s", "user", id="m")
    before = await get(store)
    with pytest.raises(MessageExists) as exists:
        await store.messages.append("s", "user", id="m", model="x", usage=Usage())
    assert (exists.value.session_id, exists.value.message_id) == ("s", "m")
    with pytest.raises(MessageNotFound) as missing:
        await store.messages.append("s", "user", parent_id="gone")
    assert missing.value.message_id == "gone"
    with pytest.raises(MessageNotFound):
        await store.messages.append("s", "user", id="self", parent_id="self")
    with pytest.raises(SessionNotFound):
        await store.messages.append("gone", "user")
    with pytest.raises(SessionNotFound):
        await store.messages.append_many("gone", [])
    assert await store.messages.list("s") == [first]
    assert await get(store) == before


async def test_of_gathered_appends_with_one_id_the_first_wins(
    store: SessionStore, session: Session
) -> None:
    outcomes = await asyncio.gather(
        *(store.messages.append("s", "user", n, id="m") for n in range(3)),
        return_exceptions=True,
    )
    kinds = [type(each) for each in outcomes]
    assert kinds == [Message, MessageExists, MessageExists]
    assert await contents(store) == [0]


# append_many


async def test_append_many_follows_one_another(
    store: SessionStore, session: Session
) -> None:
    made = await store.messages.append_many(
        "s",
        [
            NewMessage(role="user", content=1, id="a"),
            NewMessage(role="assistant", content=2),
            NewMessage(role="user", content=3, id="c", parent_id="a"),
            NewMessage(role="user", content=4, parent_id="c"),
        ],
    )
    assert [each.seq for each in made] == [1, 2, 3, 4]
    assert [each.parent_id for each in made] == [None, "a", "a", "c"]
    assert await store.messages.list("s") == made
    assert (await get(store)).active_message_id == made[-1].id


async def test_append_many_is_all_or_nothing(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append("s", "user", id="m")
    before = (await get(store), await contents(store))
    good = NewMessage(role="user", content="x", usage=Usage(prompt_tokens=1), model="y")
    for wrong, kind in (
        (NewMessage(role="user", id="m"), MessageExists),
        (NewMessage(role="user", parent_id="later"), MessageNotFound),
        (NewMessage(role="unknown"), InvalidArgument),
        (NewMessage(role="user", content={1: 2}), PayloadInvalid),
    ):
        later = NewMessage(role="user", id="later")
        with pytest.raises(kind):
            await store.messages.append_many("s", [good, wrong, later])
    twice = [NewMessage(role="user", id="n"), NewMessage(role="user", id="n")]
    with pytest.raises(MessageExists):
        await store.messages.append_many("s", twice)
    assert (await get(store), await contents(store)) == before


async def test_append_many_of_none_writes_nothing(
    store: SessionStore, session: Session
) -> None:
    assert await store.messages.append_many("s", []) == []
    assert await get(store) == session


# Idempotency keys


async def test_a_repeated_key_returns_the_first_message_and_writes_nothing(
    store: SessionStore, session: Session
) -> None:
    first = await store.messages.append("s", "user", 1, idempotency_key="k")
    await store.messages.append("s", "user", 2)
    before = await get(store)
    again = await store.messages.append(
        "s", "tool", 3, id="x", parent_id="gone", usage=Usage(), idempotency_key="k"
    )
    assert again == first
    assert (await get(store), await contents(store)) == (before, [1, 2])


async def test_a_key_within_one_gather_is_written_once(
    store: SessionStore, session: Session
) -> None:
    await store.sessions.create(id="other")
    outcomes = await asyncio.gather(
        store.messages.append("s", "user", "a", id="m", idempotency_key="k"),
        store.messages.append("s", "user", "b", id="m", idempotency_key="k"),
        store.messages.append("other", "user", "c", id="m", idempotency_key="k"),
        store.messages.append("s", "user", "d", usage=Usage(), idempotency_key="k"),
    )
    assert [each.content for each in outcomes] == ["a", "a", "c", "a"]
    assert (await get(store)).usage == Usage()
    assert await contents(store) == ["a"]


# Counts and usage


async def test_usage_adds_up(store: SessionStore, session: Session) -> None:
    one = Usage(
        prompt_tokens=1,
        completion_tokens=2,
        cache_read_tokens=3,
        cache_creation_tokens=4,
        thinking_tokens=5,
        api_calls=6,
    )
    await asyncio.gather(
        store.messages.append("s", "assistant", usage=one),
        store.messages.append("s", "user"),
        store.messages.append_many("s", [NewMessage(role="assistant", usage=one)] * 2),
    )
    await store.messages.append("s", "assistant", usage=one)
    assert (await get(store)).usage == one + one + one + one
    assert (await get(store)).message_count == 5


async def test_api_calls_is_1_unless_the_usage_says_otherwise(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append("s", "assistant", usage=Usage(prompt_tokens=5))
    await store.messages.append("s", "assistant", usage=Usage())
    await store.messages.append("s", "assistant", usage=Usage(api_calls=3))
    await store.messages.append("s", "assistant")
    assert (await get(store)).usage == Usage(prompt_tokens=5, api_calls=5)


async def test_a_session_stays_readable_whatever_its_usage_adds_up_to(
    store: SessionStore, session: Session
) -> None:
    huge = Usage(prompt_tokens=2**63 - 1, completion_tokens=2**63 - 1)
    outcomes = await asyncio.gather(
        *(store.messages.append("s", "assistant", usage=huge) for _ in range(3)),
        return_exceptions=True,
    )
    kept = [each for each in outcomes if isinstance(each, Message)]
    assert {type(each) for each in outcomes} <= {Message, InvalidArgument}
    expected = sum((each.usage.prompt_tokens for each in kept if each.usage), 0)
    assert (await get(store)).usage.prompt_tokens == expected
    assert len((await store.sessions.list(order_by="total_tokens")).items) == 1


# list


async def test_list_windows(store: SessionStore, session: Session) -> None:
    await fill(store, 6)
    assert await contents(store) == [1, 2, 3, 4, 5, 6]
    assert await contents(store, after=2) == [3, 4, 5, 6]
    assert await contents(store, before=3) == [1, 2]
    assert await contents(store, after=1, before=5) == [2, 3, 4]
    assert await contents(store, before=0) == []
    assert await contents(store, after=4, before=2) == []
    assert await contents(store, limit=2) == [1, 2]
    assert await contents(store, last=2) == [5, 6]
    assert await contents(store, last=99) == [1, 2, 3, 4, 5, 6]
    assert await contents(store, last=2, before=4) == [2, 3]
    assert await contents(store, last=4, after=4) == [5, 6]
    assert await contents(store, after=1, before=6, limit=2) == [2, 3]
    assert await contents(store, after=1, before=6, last=2) == [4, 5]


async def test_list_by_role(store: SessionStore, session: Session) -> None:
    await fill(store, 9)
    assert await contents(store, role="user") == [3, 6, 9]
    assert await contents(store, role=Role.TOOL, limit=2) == [2, 5]
    assert await contents(store, role="tool", last=2) == [5, 8]
    assert await contents(store, role="assistant", after=1, before=7) == [4]
    assert await contents(store, role="system") == []


async def test_nothing_is_compacted_yet(store: SessionStore, session: Session) -> None:
    made = await fill(store, 3)
    assert await store.messages.list("s", include_compacted=False) == made
    assert await store.messages.list("s", include_compacted=False, last=1) == made[2:]


async def test_long_conversations_are_read_whole(
    store: SessionStore, session: Session
) -> None:
    made = await fill(store, 2_500)
    made.append(await store.messages.append("s", "user", "x" * 3_000_000))
    made += await fill(store, 1_500)
    assert await store.messages.list("s") == made
    assert await store.messages.list("s", last=2_600) == made[-2_600:]
    assert await store.messages.list("s", last=2_600, before=3_000) == made[399:2_999]
    assert await store.messages.list("s", limit=1_100, after=5) == made[5:1_105]
    state = await store.sessions.load("s")
    assert state is not None and state.messages == made


# last and recent_user


async def test_last_is_the_newest_of_a_role(
    store: SessionStore, session: Session
) -> None:
    made = await fill(store, 7)
    assert await store.messages.last("s", "user") == made[5]
    assert await store.messages.last("s", Role.ASSISTANT) == made[6]
    assert await store.messages.last("s", "system") is None


async def test_recent_user_gives_texts_newest_first(store: SessionStore) -> None:
    for name, root in (("a", "/a"), ("b", "/b"), ("none", None)):
        await store.sessions.create(id=name, project_root=root)
    for n, name in enumerate(["a", "b", "none", "b", "a"]):
        await store.messages.append(name, "user", f"{name}{n}")
        await store.messages.append(name, "assistant", "no")
    assert await store.messages.recent_user(10) == ["a4", "b3", "none2", "b1", "a0"]
    assert await store.messages.recent_user(2) == ["a4", "b3"]
    assert await store.messages.recent_user(10, project_root="/b") == ["b3", "b1"]
    assert await store.messages.recent_user(1, project_root="/a") == ["a4"]
    assert await store.messages.recent_user(5, project_root="/gone") == []
    assert await store.messages.recent_user(5, project_root="") == []


async def test_recent_user_passes_over_what_has_no_text(
    store: SessionStore, session: Session
) -> None:
    for content in (
        "first",
        None,
        "",
        {"a": 1},
        ["x"],
        5,
        True,
        '"quoted"',
        "\x00",
        "#",
    ):
        await store.messages.append("s", "user", content)
    assert await store.messages.recent_user(9) == ["#", "\x00", '"quoted"', "first"]


# Errors


async def test_reads_of_an_unknown_session(store: SessionStore) -> None:
    reads: list[Awaitable[Any]] = [
        store.messages.list("s"),
        store.messages.list("s", last=3),
        store.messages.branch("s"),
        store.messages.branch("s", "m"),
        store.messages.last("s", "user"),
    ]
    for read in reads:
        with pytest.raises(SessionNotFound):
            await read


async def test_arguments_out_of_bounds(store: SessionStore, session: Session) -> None:
    room: Any = store.messages
    calls: list[Awaitable[Any]] = [
        room.append("s", "unknown"),
        room.append("s", "User"),
        room.append("s", None),
        room.append("s", ["user"]),
        room.append("s", "user", usage={"prompt_tokens": 1}),
        room.append("s", "user", usage=Usage(prompt_tokens=-1)),
        room.append("s", "user", usage=Usage(api_calls=2**63)),
        room.append("s", "user", usage=Usage(prompt_tokens=True)),
        room.append("s", "user", name=5),
        room.append("s", "user", model=b"m"),
        room.append_many("s", [{"role": "user"}]),
        room.append_many("s", "text"),
        room.list("s", after=-1),
        room.list("s", before=-1),
        room.list("s", limit=0),
        room.list("s", last=0),
        room.list("s", last=True),
        room.list("s", limit=1, last=1),
        room.list("s", role="unknown"),
        room.last("s", "nobody"),
        room.recent_user(0),
        room.recent_user(1, project_root=5),
    ]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    others = [each for each in outcomes if type(each) is not InvalidArgument]
    assert others == []
    assert await get(store) == session


@pytest.mark.parametrize("wrong", ["text", {"id": "c"}, 5, ["c"], [["c"]], [None]])
async def test_tool_calls_are_a_list_of_objects(
    store: SessionStore, session: Session, wrong: Any
) -> None:
    with pytest.raises(PayloadInvalid):
        await store.messages.append("s", "assistant", tool_calls=wrong)
    assert await get(store) == session
