"""The filters of the listing workloads, and the same as conditions of SQL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from bench.data.rows import START_US, session_id
from bench.data.year import RARE_WORD, WORDS
from turnstore import SessionFilter


class Case(msgspec.Struct, frozen=True):
    """A filter of sessions, and the plain query's conditions for the same."""

    name: str
    filter: SessionFilter = SessionFilter()
    where: str = ""
    having: str = ""


def _at(days: float) -> datetime:
    return datetime.fromtimestamp(START_US / 1e6, UTC) + timedelta(days=days)


def _micros(days: float) -> int:
    return START_US + int(days * 86_400 * 1_000_000)


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


_SOME_IDS: Final = [session_id(key) for key in range(1, 501, 10)]

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
    *_equal("parent_session_id", session_id(1), session_id(2)),
    _pairs({"team": "team-7"}),
    _pairs({"ticket": "T-500"}),
    _has_key("team"),
    _has_key("none"),
    _title(WORDS[0]),
    _title(RARE_WORD),
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
        having="COUNT(m.seq) >= 2",
    ),
    Case(
        "200 messages or more",
        SessionFilter(message_count_min=200),
        having="COUNT(m.seq) >= 200",
    ),
    Case(
        "3 messages or fewer",
        SessionFilter(message_count_max=3),
        having="COUNT(m.seq) <= 3",
    ),
]
