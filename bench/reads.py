"""The workloads that read: the events of a session, and pages of sessions."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any, Final, Literal

import msgspec

from bench import fill
from bench.floor import connect
from bench.measure import Bar, Comparison, Other, compare
from bench.port import copy_listing, list_sessions
from bench.setting import Setting, busy_loop, latency_ms
from turnstore import SessionFilter, SessionStore

Call = Callable[[int], Awaitable[None]]
Raw = Callable[[int, Callable[[str], Any]], float]


def list_events(setting: Setting) -> list[Comparison]:
    """1,000 events of one session, on an idle event loop and on a busy one.

    Beside it: every row fetched and its data decoded, nothing else; on the busy loop
    that runs on a thread, so that the loop goes on.
    """
    sessions, size = setting.pick(100, 10), 1_000
    with setting.folder() as folder:
        path = folder / "ours.db"
        ids = fill.plain_sessions(path, sessions, events_each=size)
        with setting.store(path) as store, closing(connect(path)) as connection:

            async def call(at: int) -> None:
                await store.events.list(ids[at % sessions])

            def raw(calls: int, decode: Callable[[str], Any]) -> float:
                began_s = perf_counter()
                for at in range(calls):
                    _fetch_events(connection, at % sessions + 1, decode)
                return (perf_counter() - began_s) * 1_000 / calls

            return [
                _list_idle(setting, call, raw, size),
                _list_busy(setting, call, raw, size),
            ]


def _list_idle(setting: Setting, call: Call, raw: Raw, size: int) -> Comparison:
    calls = setting.pick(100, 5)
    bar = Bar(at_most=1.5)
    return compare(
        "list_events",
        f"{size:,} events, idle",
        "ms",
        lambda: setting.run(latency_ms(calls, call)),
        Other("raw, msgspec", lambda: raw(calls, msgspec.json.decode), bar),
        Other("raw, json", lambda: raw(calls, json.loads), bar),
        rounds=setting.rounds,
    )


def _list_busy(setting: Setting, call: Call, raw: Raw, size: int) -> Comparison:
    async def ours() -> float:
        async with busy_loop():
            return await latency_ms(setting.pick(20, 3), call)

    async def on_a_thread() -> float:
        async with busy_loop():
            calls = setting.pick(5, 1)
            return await asyncio.to_thread(raw, calls, msgspec.json.decode)

    return compare(
        "list_events",
        f"{size:,} events, busy loop",
        "ms",
        lambda: setting.run(ours()),
        Other(
            "raw on a thread",
            lambda: setting.run(on_a_thread()),
            Bar(at_least=20),
            inverse=True,
        ),
        rounds=setting.rounds,
    )


def _fetch_events(connection: Any, key: int, decode: Callable[[str], Any]) -> None:
    rows = connection.execute(
        "SELECT seq, type, data, model, turn_id, created_at FROM events "
        "WHERE session_key = ? AND seq > 0 ORDER BY seq",
        (key,),
    ).fetchall()
    [(seq, kind, decode(data), *rest) for seq, kind, data, *rest in rows]


class Case(msgspec.Struct, frozen=True):
    """A filter of sessions, and the port's conditions for the same."""

    name: str
    filter: SessionFilter = SessionFilter()
    where: str = ""
    having: str = ""


Order = Literal["created_at", "updated_at", "message_count", "total_tokens"]
ORDERS: Final[tuple[Order, ...]] = (
    "created_at",
    "updated_at",
    "message_count",
    "total_tokens",
)
PAGE: Final = 50


def listing(setting: Setting) -> list[Comparison]:
    """A page of 50 sessions of 100,000, in each order, by each filter.

    Each order without a filter, and created_at with each filter, stand beside the
    same page of 1,000 sessions; the other orders with each filter beside the query of
    the port on the same data.
    """
    small, large = 1_000, setting.pick(100_000, 20_000)
    with setting.folder() as folder:
        fill.listing(folder / "small.db", small)
        fill.listing(folder / "large.db", large)
        copy_listing(folder / "large.db", folder / "port.db")
        with (
            setting.store(folder / "small.db") as few,
            setting.store(folder / "large.db") as many,
            closing(sqlite3.connect(folder / "port.db")) as port,
        ):
            flat: list[tuple[Order, Case]] = [
                *((order, Case("no filter")) for order in ORDERS),
                *((ORDERS[0], case) for case in CASES),
            ]
            return [
                *(
                    _flat(setting, many, few, *each, f"{small:,} sessions")
                    for each in flat
                ),
                *(
                    _ported(setting, many, port, order, case)
                    for order in ORDERS[1:]
                    for case in CASES
                ),
            ]


def _flat(
    setting: Setting,
    many: SessionStore,
    few: SessionStore,
    order: Order,
    case: Case,
    small: str,
) -> Comparison:
    # A rare value fills no page of the small store: the same page of both, then.
    found = setting.run(few.sessions.list(case.filter, order_by=order, limit=PAGE))
    limit = max(1, len(found.items))
    calls = setting.pick(20, 3)
    return compare(
        "listing",
        f"{order}, {case.name}, page of {limit}",
        "ms",
        _page_ms(setting, many, order, case, limit, calls),
        Other(
            small,
            _page_ms(setting, few, order, case, limit, calls),
            Bar(at_most=1.5),
        ),
        rounds=setting.rounds,
    )


def _ported(
    setting: Setting,
    many: SessionStore,
    port: sqlite3.Connection,
    order: Order,
    case: Case,
) -> Comparison:
    def ported_ms() -> float:
        began_s = perf_counter()
        list_sessions(port, case.where, case.having, order, PAGE)
        return (perf_counter() - began_s) * 1_000

    return compare(
        "listing",
        f"{order}, {case.name}",
        "ms",
        _page_ms(setting, many, order, case, PAGE, setting.pick(5, 1)),
        Other("port", ported_ms, Bar(at_most=0.1), rounds_max=1),
        rounds=setting.rounds,
    )


def _page_ms(
    setting: Setting,
    store: SessionStore,
    order: Order,
    case: Case,
    limit: int,
    calls: int,
) -> Callable[[], float]:
    async def page(_: int) -> None:
        await store.sessions.list(case.filter, order_by=order, limit=limit)

    async def sample() -> float:
        await page(0)
        return await latency_ms(calls, page)

    return lambda: setting.run(sample())


def _at(days: float) -> datetime:
    return datetime.fromtimestamp(fill.START_US / 1e6, UTC) + timedelta(days=days)


def _micros(days: float) -> int:
    return fill.START_US + int(days * 86_400 * 1_000_000)


def _equal(field: str, *values: str) -> list[Case]:
    return [
        Case(
            f"{field.removesuffix('_session_id')} {value.lstrip('0')}",
            SessionFilter(**{field: value}),  # type: ignore[arg-type]
            f"s.{field} = '{value}'",
        )
        for value in values
    ]


def _pairs(pairs: Mapping[str, str]) -> Case:
    where = " AND ".join(
        f"EXISTS (SELECT 1 FROM session_metadata p WHERE p.session_key = s.session_key "
        f"AND p.key = '{name}' AND p.value = '\"{value}\"')"
        for name, value in pairs.items()
    )
    named = ", ".join(f"{name} = {value}" for name, value in pairs.items())
    return Case(f"metadata {named}", SessionFilter(metadata=pairs), where)


def _has_key(name: str) -> Case:
    return Case(
        f"metadata has {name}",
        SessionFilter(metadata_keys=[name]),
        f"EXISTS (SELECT 1 FROM session_metadata p "
        f"WHERE p.session_key = s.session_key AND p.key = '{name}')",
    )


def _title(word: str) -> Case:
    return Case(
        f"title has {word}",
        SessionFilter(title_contains=word),
        f"s.title LIKE '%{word}%'",
    )


def _open_calls(is_open: bool) -> Case:
    return Case(
        f"open tool calls {'yes' if is_open else 'no'}",
        SessionFilter(has_pending_tool_calls=is_open),
        f"{'' if is_open else 'NOT '}EXISTS (SELECT 1 FROM tool_calls t "
        f"WHERE t.session_key = s.session_key "
        f"AND t.status IN ('pending', 'approved', 'executing'))",
    )


def _since(field: str, days: float) -> Case:
    prefix = field.removesuffix("_at")
    return Case(
        f"{field} from day {days:g}",
        SessionFilter(**{f"{prefix}_after": _at(days)}),  # type: ignore[arg-type]
        f"s.{field} >= {_micros(days)}",
    )


def _until(field: str, days: float) -> Case:
    prefix = field.removesuffix("_at")
    return Case(
        f"{field} to day {days:g}",
        SessionFilter(**{f"{prefix}_before": _at(days)}),  # type: ignore[arg-type]
        f"s.{field} <= {_micros(days)}",
    )


_SOME_IDS: Final = [fill.session_id(key) for key in range(1, 501, 10)]

CASES: Final = [
    Case(
        "50 ids",
        SessionFilter(ids=_SOME_IDS),
        f"s.id IN ({', '.join(repr(each) for each in _SOME_IDS)})",
    ),
    *_equal("agent_name", "agent-0", "agent-19"),
    *_equal("project_root", "/projects/0", "/projects/49"),
    *_equal("provider", "provider-0", "provider-3"),
    *_equal("model", "model-0", "model-9"),
    *_equal("last_model", "model-0", "model-9"),
    *_equal("status", "completed", "running"),
    Case(
        "status failed or running",
        SessionFilter(status=["failed", "running"]),
        "s.status IN ('failed', 'running')",
    ),
    *_equal("parent_session_id", fill.session_id(1), fill.session_id(2)),
    _pairs({"team": "team-7"}),
    _pairs({"ticket": "T-500"}),
    _has_key("team"),
    _has_key("none"),
    _title(fill.WORDS[0]),
    _title(fill.RARE_WORD),
    _since("created_at", 100),
    _since("created_at", 364),
    _until("created_at", 300),
    _until("created_at", 2),
    _since("updated_at", 100),
    _since("updated_at", 400),
    _until("updated_at", 300),
    _until("updated_at", 2),
    _open_calls(is_open=True),
    _open_calls(is_open=False),
    Case(
        "2 messages or more",
        SessionFilter(message_count_min=2),
        having="message_count >= 2",
    ),
    Case(
        "200 messages or more",
        SessionFilter(message_count_min=200),
        having="message_count >= 200",
    ),
    Case(
        "3 messages or fewer",
        SessionFilter(message_count_max=3),
        having="message_count <= 3",
    ),
]
