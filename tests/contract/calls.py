"""One call of each method, for what holds of all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from turnstore import NewEvent, NewMessage, Question, SessionStore, Setting, Usage

Call: TypeAlias = Callable[[SessionStore], Awaitable[Any]]


async def one_event(store: SessionStore) -> None:
    async with store.turn("gone") as turn:
        turn.event("e")


async def one_lease(store: SessionStore) -> None:
    async with store.sessions.lease("gone"):
        pass


OF_A_SESSION: Final[dict[str, Call]] = {
    "sessions.update": lambda store: store.sessions.update("gone", title="t"),
    "sessions.lease": one_lease,
    "sessions.fork": lambda store: store.sessions.fork("gone"),
    "messages.append": lambda store: store.messages.append("gone", "user"),
    "messages.append_many": lambda store: store.messages.append_many(
        "gone", [NewMessage(role="user")]
    ),
    "messages.append_many of none": lambda store: store.messages.append_many(
        "gone", []
    ),
    "messages.list": lambda store: store.messages.list("gone"),
    "messages.list of the last": lambda store: store.messages.list("gone", last=3),
    "messages.context": lambda store: store.messages.context("gone"),
    "messages.branch": lambda store: store.messages.branch("gone"),
    "messages.branch to a message": lambda store: store.messages.branch("gone", "m"),
    "messages.set_active": lambda store: store.messages.set_active("gone", None),
    "messages.last": lambda store: store.messages.last("gone", "user"),
    "messages.compact": lambda store: store.messages.compact("gone", "so far"),
    "messages.uncompact": lambda store: store.messages.uncompact("gone"),
    "tool_calls.create": lambda store: store.tool_calls.create("gone", "ls", {}),
    "tool_calls.update": lambda store: store.tool_calls.update("gone", "c", output=""),
    "tool_calls.find": lambda store: store.tool_calls.find("gone", "c"),
    "tool_calls.list": lambda store: store.tool_calls.list("gone"),
    "tool_calls.list by status": lambda store: store.tool_calls.list(
        "gone", status="failed"
    ),
    "tool_calls.pending": lambda store: store.tool_calls.pending("gone"),
    "tool_calls.has_pending": lambda store: store.tool_calls.has_pending("gone"),
    "tool_calls.interrupt": lambda store: store.tool_calls.interrupt("gone"),
    "events.append": lambda store: store.events.append("gone", "e"),
    "events.append_many": lambda store: store.events.append_many(
        "gone", [NewEvent(type="e")]
    ),
    "events.append_many of none": lambda store: store.events.append_many("gone", []),
    "events.list": lambda store: store.events.list("gone"),
    "events.list by no types": lambda store: store.events.list("gone", types=[]),
    "events.list by types": lambda store: store.events.list("gone", types=["e"]),
    "events.stream": lambda store: anext(aiter(store.events.stream("gone"))),
    "events.follow": lambda store: anext(store.events.follow("gone")),
    "events.follow_all": lambda store: anext(store.events.follow_all(["gone"])),
    "events.head": lambda store: store.events.head("gone"),
    "events.delete_before": lambda store: store.events.delete_before("gone", 1),
    "turn": one_event,
    "usage.session": lambda store: store.usage.session("gone"),
    "usage.by_agent": lambda store: store.usage.by_agent("gone"),
    "usage.by_model": lambda store: store.usage.by_model("gone"),
    "usage.record": lambda store: store.usage.record("gone", Usage()),
    "metadata.set": lambda store: store.metadata.set("gone", "k", "v"),
    "metadata.delete": lambda store: store.metadata.delete("gone", "k"),
    "metadata.all": lambda store: store.metadata.all("gone"),
    "todos.set": lambda store: store.todos.set("gone", "x"),
    "questions.store": lambda store: store.questions.store(
        "gone", [Question(question_id="q", question="?")]
    ),
    "questions.pending": lambda store: store.questions.pending("gone"),
    "questions.answer": lambda store: store.questions.answer("gone", {"q": 1}),
    "questions.list": lambda store: store.questions.list("gone"),
    "settings.store": lambda store: store.settings.store(
        "gone", [Setting(setting_key="k", setting_name="K")]
    ),
    "settings.pending": lambda store: store.settings.pending("gone"),
    "settings.answer": lambda store: store.settings.answer("gone", {"k": 1}),
    "settings.list": lambda store: store.settings.list("gone"),
}
"""Calls that need a session, and name one that is not there."""

EVERY: Final[dict[str, Call]] = {
    **OF_A_SESSION,
    "statistics": lambda store: store.statistics(),
    "sessions.create": lambda store: store.sessions.create(),
    "sessions.get": lambda store: store.sessions.get("gone"),
    "sessions.load": lambda store: store.sessions.load("gone"),
    "sessions.list": lambda store: store.sessions.list(),
    "sessions.count": lambda store: store.sessions.count(),
    "sessions.delete": lambda store: store.sessions.delete("gone"),
    "messages.recent_user": lambda store: store.messages.recent_user(1),
    "tool_calls.get": lambda store: store.tool_calls.get("gone", "c"),
    "events.follow_all of all": lambda store: anext(store.events.follow_all()),
    "usage.by_day": lambda store: store.usage.by_day(),
    "metadata.get": lambda store: store.metadata.get("gone", "k"),
    "todos.get": lambda store: store.todos.get("gone"),
    "archive.statistics": lambda store: store.archive.statistics(),
    "archive.purge": lambda store: store.archive.purge(older_than_days=0),
    "admin.backup": lambda store: store.admin.backup("never-made.db"),
    "admin.checkpoint": lambda store: store.admin.checkpoint(),
    "admin.check": lambda store: store.admin.check(),
    "admin.vacuum": lambda store: store.admin.vacuum(),
    "admin.recover": lambda store: store.admin.recover(),
}


async def outcomes_of(
    calls: Mapping[str, Call], store: SessionStore
) -> dict[str, object]:
    """Return what each call gives or raises."""
    outcomes = await asyncio.gather(
        *(call(store) for call in calls.values()), return_exceptions=True
    )
    return dict(zip(calls, outcomes, strict=True))
