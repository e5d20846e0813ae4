"""Long histories: the context of a session, and forks of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from bench.data import fill
from bench.data.rows import MESSAGE_TEXT
from bench.running.measure import Comparison, Comparisons, Goal, Reference, compare
from bench.running.setting import Setting, latency_ms
from turnstore import Message, NewMessage, SessionStore

AGENT: Final = "coder"
COMPACTIONS: Final = 3
ACTIVE_MIN: Final = 100
"""Messages after the last compaction, its summary and the tail it keeps apart."""
BATCH: Final = 1_000

CONTEXT_GOAL: Final = Goal(at_most=1.2)
FORK_GOAL: Final = Goal(at_most=3)


def history(setting: Setting) -> Comparisons:
    """The context of a session of 10,000 messages, compacted three times, compared with
    that of a session of its active messages alone; and forks of a session of 100,000
    events, compared with new sessions."""
    yield _context(setting)
    yield _fork(setting)


def _context(setting: Setting) -> Comparison:
    count, calls = setting.pick(10_000, 1_000), setting.pick(200, 10)
    with (
        setting.folder() as folder,
        setting.store(folder / "turnstore.db") as store,
    ):
        long = setting.run(_compacted(store, count))
        context = setting.run(store.messages.context(long))
        short = setting.run(_copied(store, context))
        assert _said(setting.run(store.messages.context(short))) == _said(context)

        def sample_ms(session_id: str) -> float:
            return setting.run(
                latency_ms(calls, lambda _: store.messages.context(session_id))
            )

        sample_ms(long)
        sample_ms(short)
        return compare(
            "history",
            f"context, {len(context)} of {count:,} messages",
            "ms",
            lambda: sample_ms(long),
            Reference(
                "turnstore, these messages alone",
                lambda: sample_ms(short),
                CONTEXT_GOAL,
            ),
            # Short rounds, and more of them: both sides meet the same noise.
            rounds=setting.rounds * setting.pick(3, 1),
        )


async def _compacted(store: SessionStore, count: int) -> str:
    """Make a session of so many messages, compacted at equal distances."""
    session = await store.sessions.create(agent_name=AGENT)
    archived_each = (count - ACTIVE_MIN) // COMPACTIONS
    said = _conversation(count)
    for _ in range(COMPACTIONS):
        await _append(store, session.id, said, archived_each)
        done = await store.messages.compact(session.id, MESSAGE_TEXT)
        assert done.archived
    await _append(store, session.id, said, count)
    return session.id


async def _append(
    store: SessionStore, session_id: str, said: Iterator[NewMessage], count_max: int
) -> None:
    several = [each for _, each in zip(range(count_max), said, strict=False)]
    for at in range(0, len(several), BATCH):
        await store.messages.append_many(session_id, several[at : at + BATCH])


def _conversation(count: int) -> Iterator[NewMessage]:
    """A question, a call with its result, an answer, and so on."""
    for at in range(count):
        call_id = f"call-{at // 4}"
        if at % 4 == 1:
            function = {"name": "read_file", "arguments": '{"path":"src/parser.py"}'}
            call = {"id": call_id, "type": "function", "function": function}
            yield NewMessage(role="assistant", tool_calls=[call])
        elif at % 4 == 2:
            yield NewMessage(role="tool", content=MESSAGE_TEXT, tool_call_id=call_id)
        else:
            role = "user" if at % 4 == 0 else "assistant"
            yield NewMessage(role=role, content=MESSAGE_TEXT)


async def _copied(store: SessionStore, context: Sequence[Message]) -> str:
    """Make a session of these messages, in this order."""
    session = await store.sessions.create(agent_name=AGENT)
    await store.messages.append_many(
        session.id,
        [
            NewMessage(
                role=each.role,
                content=each.content,
                tool_calls=each.tool_calls,
                tool_call_id=each.tool_call_id,
            )
            for each in context
        ],
    )
    return session.id


def _said(context: Sequence[Message]) -> list[tuple[object, ...]]:
    return [
        (each.role, each.content, each.tool_calls, each.tool_call_id)
        for each in context
    ]


def _fork(setting: Setting) -> Comparison:
    events, calls = setting.pick(100_000, 5_000), setting.pick(100, 10)
    with setting.folder() as folder:
        [parent] = fill.uniform_sessions(folder / "turnstore.db", 1, events_each=events)
        with setting.store(folder / "turnstore.db") as store:
            fork = setting.run(store.sessions.fork(parent))
            assert fork.event_head == events

            def forks_ms() -> float:
                return setting.run(
                    latency_ms(calls, lambda _: store.sessions.fork(parent))
                )

            def creates_ms() -> float:
                return setting.run(
                    latency_ms(calls, lambda _: store.sessions.create(agent_name=AGENT))
                )

            forks_ms()
            creates_ms()
            return compare(
                "history",
                f"fork at {events:,} events",
                "ms",
                forks_ms,
                Reference("turnstore, creating a session", creates_ms, FORK_GOAL),
                rounds=setting.rounds * setting.pick(3, 1),
            )
