"""``store.messages.append`` and ``append_many``: what is said."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from tests.contract.ways import OpenStore
from turnstore import (
    InvalidArgument,
    Message,
    MessageExists,
    MessageNotFound,
    NewMessage,
    PayloadInvalid,
    Role,
    Session,
    SessionStore,
    Usage,
)

MOMENT: Final = datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
HUGE: Final = Usage(prompt_tokens=2**63 - 1, completion_tokens=2**63 - 1)

WRONG: Final[dict[str, Callable[[Any], Awaitable[Any]]]] = {
    "role": lambda room: room.append("s", ["user"]),
    "usage": lambda room: room.append("s", "user", usage={"prompt_tokens": 1}),
    "usage below 0": lambda room: room.append(
        "s", "user", usage=Usage(prompt_tokens=-1)
    ),
    "usage of 64 bits": lambda room: room.append(
        "s", "user", usage=Usage(api_calls=2**63)
    ),
    "usage of bool": lambda room: room.append(
        "s", "user", usage=Usage(prompt_tokens=True)
    ),
    "name": lambda room: room.append("s", "user", name=5),
    "model": lambda room: room.append("s", "user", model=b"m"),
    "no record": lambda room: room.append_many("s", [{"role": "user"}]),
    "several": lambda room: room.append_many("s", "text"),
}


@pytest.mark.parametrize("role", ["system", "user", "assistant", "tool"])
async def test_a_message_needs_only_a_role(
    store: SessionStore, session: Session, role: str
) -> None:
    made = await store.messages.append("s", role)
    assert made == Message(
        id=made.id,
        session_id="s",
        seq=1,
        role=Role(role),
        created_at=made.created_at,
    )
    empty = await store.messages.append("s", Role(role), "", tool_calls=[])
    assert (empty.role, empty.content, empty.tool_calls) == (Role(role), "", [])
    assert await store.messages.list("s") == [made, empty]


@pytest.mark.parametrize("content", ["", "x", None, {}, [], 0, False, {"a": None}])
async def test_content_is_text_or_json_or_none(
    store: SessionStore, session: Session, content: Any
) -> None:
    await store.messages.append("s", "user", content)
    [message] = await store.messages.list("s")
    assert (message.content, type(message.content)) == (content, type(content))


async def test_no_tool_calls_and_an_empty_list_of_them_stay_apart(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append("s", "assistant")
    await store.messages.append("s", "assistant", tool_calls=[])
    found = await store.messages.list("s")
    assert [each.tool_calls for each in found] == [None, []]


@pytest.mark.parametrize(
    "wrong", ["text", {"id": "c"}, 5, ["c"], [["c"]], [None]], ids=str
)
async def test_tool_calls_of_a_message_are_a_list_of_objects(
    store: SessionStore, session: Session, wrong: Any
) -> None:
    with pytest.raises(PayloadInvalid):
        await store.messages.append("s", "assistant", tool_calls=wrong)
    assert await store.messages.list("s") == []
    assert await store.sessions.get("s") == session


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
async def test_messages_refuse_arguments_out_of_bounds(
    store: SessionStore, session: Session, call: Callable[[Any], Any]
) -> None:
    with pytest.raises(InvalidArgument):
        await call(store.messages)
    assert await store.sessions.get("s") == session


async def test_messages_keep_their_order_whatever_their_times(
    store: SessionStore, session: Session
) -> None:
    for n in range(3):
        moment = MOMENT - timedelta(days=n)
        await store.messages.append("s", "user", n, created_at=moment)
    found = await store.messages.list("s")
    assert [(each.seq, each.content) for each in found] == [(1, 0), (2, 1), (3, 2)]


async def test_append_refuses_a_message_id_that_its_session_has(
    store: SessionStore, session: Session
) -> None:
    await store.sessions.create(id="other")
    first = await store.messages.append("s", "user", "first", id="m")
    before = await store.sessions.get("s")
    with pytest.raises(MessageExists) as caught:
        await store.messages.append("s", "user", id="m", model="x", usage=Usage())
    assert (caught.value.session_id, caught.value.message_id) == ("s", "m")
    assert await store.sessions.get("s") == before
    other = await store.messages.append("other", "user", "theirs", id="m")
    assert await store.messages.list("s") == [first]
    assert await store.messages.list("other") == [other]


async def test_of_gathered_messages_with_one_id_the_first_wins(
    store: SessionStore, session: Session
) -> None:
    outcomes = await asyncio.gather(
        *(store.messages.append("s", "user", n, id="m") for n in range(3)),
        return_exceptions=True,
    )
    kinds = [type(each) for each in outcomes]
    assert kinds == [Message, MessageExists, MessageExists]
    assert [each.content for each in await store.messages.list("s")] == [0]


async def test_append_refuses_a_parent_that_is_not_in_the_session(
    store: SessionStore, session: Session
) -> None:
    await store.sessions.create(id="other")
    await store.messages.append("other", "user", id="theirs")
    with pytest.raises(MessageNotFound) as caught:
        await store.messages.append("s", "user", parent_id="theirs")
    assert (caught.value.session_id, caught.value.message_id) == ("s", "theirs")
    with pytest.raises(MessageNotFound):
        await store.messages.append("s", "user", id="self", parent_id="self")
    assert await store.messages.list("s") == []
    assert await store.sessions.get("s") == session


async def test_a_message_counts_in_its_session(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append("s", "user")
    await store.messages.append("s", "assistant", model="m")
    found = await store.sessions.get("s")
    assert found is not None
    assert (found.message_count, found.message_head) == (2, 2)
    assert found.last_model == "m"
    assert found.updated_at > session.updated_at


async def test_usage_of_messages_adds_up(store: SessionStore, session: Session) -> None:
    used = Usage(prompt_tokens=1, completion_tokens=2, cache_read_tokens=3)
    await store.messages.append("s", "assistant", usage=used)
    await store.messages.append("s", "user")
    await store.messages.append_many(
        "s", [NewMessage(role="assistant", usage=used)] * 2
    )
    found = await store.sessions.get("s")
    assert found is not None
    assert found.usage == used + used + used + Usage(api_calls=3)


async def test_usage_of_gathered_messages_adds_up(
    store: SessionStore, session: Session
) -> None:
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
    found = await store.sessions.get("s")
    assert found is not None
    assert (found.usage, found.message_count) == (one + one + one + one, 5)


async def test_a_session_stays_readable_whatever_its_usage_adds_up_to(
    store: SessionStore, session: Session
) -> None:
    outcomes = await asyncio.gather(
        *(store.messages.append("s", "assistant", usage=HUGE) for _ in range(3)),
        return_exceptions=True,
    )
    kept = [each for each in outcomes if isinstance(each, Message)]
    assert {type(each) for each in outcomes} <= {Message, InvalidArgument}
    expected = sum((each.usage.prompt_tokens for each in kept if each.usage), 0)
    found = await store.sessions.get("s")
    assert found is not None and found.usage.prompt_tokens == expected
    assert (await store.sessions.list(order_by="total_tokens")).items == [found]


@pytest.mark.parametrize(("given", "counted"), [(0, 1), (1, 1), (3, 3)])
async def test_api_calls_is_1_unless_the_usage_says_otherwise(
    store: SessionStore, session: Session, given: int, counted: int
) -> None:
    await store.messages.append("s", "assistant", usage=Usage(api_calls=given))
    await store.messages.append("s", "assistant")
    assert await store.usage.session("s") == Usage(api_calls=counted)


async def test_a_repeated_message_key_returns_the_first_and_writes_nothing(
    store: SessionStore, session: Session
) -> None:
    first = await store.messages.append("s", "user", 1, idempotency_key="k")
    second = await store.messages.append("s", "user", 2)
    before = await store.sessions.get("s")
    again = await store.messages.append(
        "s", "tool", 3, id="x", parent_id="gone", usage=Usage(), idempotency_key="k"
    )
    assert again == first
    assert await store.messages.list("s") == [first, second]
    assert await store.sessions.get("s") == before


async def test_of_gathered_messages_with_one_key_the_first_is_written(
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
    assert await store.messages.list("s") == [outcomes[0]]
    found = await store.sessions.get("s")
    assert found is not None and found.usage == Usage()


async def test_a_message_key_belongs_to_its_session(
    store: SessionStore, session: Session
) -> None:
    await store.sessions.create(id="other")
    await store.messages.append("s", "user", 1, idempotency_key="k")
    other = await store.messages.append("other", "user", 2, idempotency_key="k")
    assert (other.session_id, other.content) == ("other", 2)


async def test_a_repeated_key_gives_the_message_as_it_is_now(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append("s", "user", 1, idempotency_key="k")
    await store.messages.append("s", "user", 2)
    await store.messages.compact("s", "so far", preserve=1)
    again = await store.messages.append("s", "user", 1, idempotency_key="k")
    assert again.compacted_at is not None
    assert again == (await store.messages.list("s"))[0]


async def test_a_repeated_key_whose_message_was_purged_is_refused(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append("s", "user", 1, idempotency_key="k")
    await store.messages.compact("s", "so far", preserve=0)
    await store.archive.purge(older_than_days=0)
    before = await store.sessions.load("s")
    append = store.messages.append
    outcomes: Any = await asyncio.gather(
        append("s", "user", "before"),
        append("s", "user", 1, idempotency_key="k"),
        append("s", "user", "after"),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], InvalidArgument)
    assert "purged" in str(outcomes[1])
    made = [outcomes[0], outcomes[2]]
    assert before is not None
    assert await store.messages.list("s") == [*before.messages, *made]


# append_many


async def test_append_many_gives_the_messages_in_order(
    store: SessionStore, session: Session
) -> None:
    new = [NewMessage(role="user", content=n) for n in range(3)]
    made = await store.messages.append_many("s", new)
    assert [(each.seq, each.content) for each in made] == [(1, 0), (2, 1), (3, 2)]
    assert await store.messages.list("s") == made


async def test_append_many_takes_a_parent_that_comes_before_it(
    store: SessionStore, session: Session
) -> None:
    new = [
        NewMessage(role="user", id="a"),
        NewMessage(role="assistant", id="b"),
        NewMessage(role="assistant", id="c", parent_id="a"),
        NewMessage(role="user", id="d", parent_id="c"),
    ]
    made = await store.messages.append_many("s", new)
    assert [each.parent_id for each in made] == [None, "a", "a", "c"]
    assert await store.messages.list("s") == made
    found = await store.sessions.get("s")
    assert found is not None and found.active_message_id == "d"


async def test_append_many_of_none_writes_nothing(
    store: SessionStore, session: Session
) -> None:
    assert await store.messages.append_many("s", []) == []
    assert await store.sessions.get("s") == session


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (NewMessage(role="user", id="m"), MessageExists),
        (NewMessage(role="user", id="good"), MessageExists),
        (NewMessage(role="user", parent_id="gone"), MessageNotFound),
        (NewMessage(role="user", parent_id="later"), MessageNotFound),
        (NewMessage(role="nobody"), InvalidArgument),
        (NewMessage(role="user", content={1: 2}), PayloadInvalid),
    ],
)
async def test_append_many_is_all_or_nothing(
    store: SessionStore,
    session: Session,
    wrong: NewMessage,
    error: type[Exception],
) -> None:
    first = await store.messages.append("s", "user", id="m")
    before = await store.sessions.get("s")
    used = Usage(prompt_tokens=1)
    good = NewMessage(role="user", id="good", usage=used, model="x")
    later = NewMessage(role="user", id="later")
    with pytest.raises(error):
        await store.messages.append_many("s", [good, wrong, later])
    assert await store.messages.list("s") == [first]
    assert await store.sessions.get("s") == before


# Several stores on one database


async def test_messages_of_two_stores_are_numbered_without_a_gap(
    open_shared: OpenStore,
) -> None:
    stores = [await open_shared(), await open_shared()]
    await stores[0].sessions.create(id="s")
    made = await asyncio.gather(
        *(stores[n % 2].messages.append("s", "user", n) for n in range(40))
    )
    assert sorted(each.seq for each in made) == list(range(1, 41))
    for parity in (0, 1):
        seqs = [each.seq for each in made[parity::2]]
        assert seqs == sorted(seqs)
    found = await stores[1].messages.list("s")
    assert found == sorted(made, key=lambda each: each.seq)
    assert [each.parent_id for each in found[1:]] == [each.id for each in found[:-1]]


async def test_a_message_key_holds_between_stores(open_shared: OpenStore) -> None:
    stores = [await open_shared(), await open_shared()]
    await stores[0].sessions.create(id="s")
    made = await asyncio.gather(
        *(each.messages.append("s", "user", idempotency_key="k") for each in stores)
    )
    assert made[0] == made[1]
    assert await stores[0].messages.list("s") == [made[0]]
