"""``store.messages.context`` against a model: any history of calls and results."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.messages.sendable import (
    blocks_of,
    check_sendable,
    results_of,
    texts_of,
)
from tests.contract.messages.talks import ask, say, use
from turnstore import (
    Message,
    NewMessage,
    PendingToolCalls,
    Role,
    SessionStore,
    ToolCall,
)

IDS = st.lists(st.sampled_from("ab"), min_size=1, max_size=3)
WHERE = st.integers(0, 30)
STEPS = st.lists(
    st.tuples(st.sampled_from([ask, use]), IDS, st.booleans())
    | st.tuples(st.just("tool"), st.sampled_from("ab"))
    | st.tuples(st.just("blocks"), IDS, st.sampled_from(["", "before", "after"]))
    | st.tuples(st.just("say"), st.sampled_from(["user", "system", "assistant"]))
    | st.tuples(
        st.just("row"),
        WHERE,
        st.sampled_from("ab"),
        st.sampled_from(["completed", "failed", "denied", "executing"]),
    )
    | st.tuples(st.just("go"), WHERE)
    | st.tuples(st.just("compact"), st.integers(0, 4))
    | st.just(("uncompact",)),
    min_size=3,
    max_size=25,
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=60,
)
@given(steps=STEPS)
async def test_a_context_is_sendable_and_has_all_of_its_branch_and_nothing_else(
    store: SessionStore, steps: list[Any]
) -> None:
    session = (await store.sessions.create()).id
    for number, step in enumerate(steps):
        await take(store, session, number, step)
    for tip in [None, *await store.messages.list(session)]:
        await check(store, session, tip)


async def take(store: SessionStore, session: str, number: int, step: Any) -> None:
    kind, *values = step
    listed = await store.messages.list(session)
    if kind == "go":
        tip = listed[values[0] % len(listed)].id if listed else None
        await store.messages.set_active(session, tip)
    elif kind == "compact":
        await compact(store, session, number, values[0])
    elif kind == "uncompact":
        await store.messages.uncompact(session)
    elif kind == "row":
        if listed:
            where, call_id, status = values
            call = await store.tool_calls.create(
                session,
                "f",
                {},
                call_id=call_id,
                message_id=listed[where % len(listed)].id,
            )
            await store.tool_calls.update(
                session, call.id, status=status, output=f"row {number}"
            )
    else:
        await store.messages.append_many(session, [message(kind, values, number)])


def message(kind: Any, values: list[Any], number: int) -> NewMessage:
    if kind == "say":
        return say(values[0], f"said {number}")
    if kind == "tool":
        [call_id] = values
        return NewMessage(role="tool", tool_call_id=call_id, content=f"result {number}")
    if kind == "blocks":
        ids, place = values
        blocks: list[Any] = [
            {
                "type": "tool_result",
                "tool_use_id": each,
                "content": f"result {number}.{at}",
            }
            for at, each in enumerate(ids)
        ]
        if place:
            said = {"type": "text", "text": f"said {number}"}
            blocks.insert(0 if place == "before" else len(blocks), said)
        return NewMessage(role="user", content=blocks)
    ids, has_text = values
    made: NewMessage = kind(*ids, text=f"asked {number}" if has_text else None)
    return made


async def compact(
    store: SessionStore, session: str, number: int, preserve: int
) -> None:
    """Compact, and check that no pair on any branch is split."""
    before = await store.messages.list(session)
    active = {each.id for each in before if each.compacted_at is None}
    try:
        await store.messages.compact(session, f"summary {number}", preserve=preserve)
    except PendingToolCalls:
        return
    after = await store.messages.list(session)
    stays = {each.id for each in after if each.compacted_at is None}
    for tip in before:
        chain = chain_of(before, tip.id)
        for asker, result in answers(chain):
            if {chain[asker].id, chain[result].id} <= active:
                assert (chain[asker].id in stays) == (chain[result].id in stays)


async def check(store: SessionStore, session: str, tip: Message | None) -> None:
    listed = await store.messages.list(session)
    found = await store.sessions.get(session)
    assert found is not None
    tip_id = found.active_message_id if tip is None else tip.id
    context = await store.messages.context(
        session, message_id=None if tip is None else tip.id
    )
    check_sendable(context)
    chain = chain_of(listed, tip_id)
    active = [
        *(each for each in listed if each.is_summary and each.compacted_at is None),
        *(m for m in chain if m.compacted_at is None and not m.is_summary),
    ]
    assert texts_of(context) == texts_of(active)
    calls = await store.tool_calls.list(session)
    assert sorted(results_of(context)) == sorted(expected_results(active, calls))
    branch = await store.messages.branch(session, None if tip is None else tip.id)
    assert branch == chain
    last = await store.messages.branch(session, tip_id, last=2) if tip_id else []
    assert last == chain[-2:]


def chain_of(listed: list[Message], tip: str | None) -> list[Message]:
    by_id = {each.id: each for each in listed}
    chain: list[Message] = []
    while tip is not None and tip in by_id:
        chain.append(by_id[tip])
        tip = by_id[tip].parent_id
    return chain[::-1]


def calls_in(message: Message) -> list[str]:
    entries = [each["id"] for each in message.tool_calls or ()]
    return entries + [each["id"] for each in blocks_of(message, "tool_use")]


def answers(chain: list[Message]) -> list[tuple[int, int]]:
    return [(asker, result) for asker, _, result, _ in paired(chain)]


def paired(chain: list[Message]) -> list[tuple[int, int, int, Any]]:
    """Places of a message, of its call, and of the result, with the result."""
    waiting: list[tuple[int, int, str]] = []
    found: list[tuple[int, int, int, Any]] = []
    for at, each in enumerate(chain):
        given: list[tuple[Any, Any]] = []
        if each.role is Role.TOOL:
            given = [(each.tool_call_id, each.content)]
        elif each.role is Role.USER:
            given = [
                (block["tool_use_id"], block["content"])
                for block in blocks_of(each, "tool_result")
            ]
        for call_id, content in given:
            fitting = [one for one in waiting if one[2] == call_id]
            if fitting:
                # The first call of the latest message.
                taken = min(fitting, key=lambda one: (-one[0], one[1]))
                waiting.remove(taken)
                found.append((taken[0], taken[1], at, content))
        waiting += [(at, n, call_id) for n, call_id in enumerate(calls_in(each))]
    return found


def expected_results(active: list[Message], calls: list[ToolCall]) -> list[Any]:
    pairs = paired(active)
    found = [content for *_, content in pairs]
    answered = {(asker, call) for asker, call, *_ in pairs}
    for at, each in enumerate(active):
        ids = calls_in(each)
        for n, call_id in enumerate(ids):
            rows = [
                row
                for row in calls
                if (row.message_id, row.call_id) == (each.id, call_id)
                and row.status in ("completed", "failed", "denied")
            ]
            number = ids[:n].count(call_id)
            if (at, n) not in answered and number < len(rows):
                found.append(rows[number].output)
    return found
