"""Conversations in the wrappings and under the names that are found in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.files.chat_files import conversation, imported
from turnstore import Role, SessionStore
from turnstore.transfer import ImportReport, export_file, import_file
from turnstore.transfer.chat.formats import CHAT

HI = {"role": "user", "content": "hi"}
YO = {"role": "assistant", "content": "yo"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
ANSWER = {"role": "tool", "tool_call_id": "c", "content": "r"}
MODEL = {"author": {"role": "assistant"}}
CHATGPT = {
    "title": "T",
    "conversation_id": "a",
    "current_node": "3",
    "mapping": {
        "1": {"message": None, "parent": None},
        "2": {
            "message": {
                "author": {"role": "user"},
                "content": {"content_type": "text", "parts": ["h", "i"]},
            },
            "parent": "1",
        },
        "3": {
            "message": {"author": {"role": "assistant"}, "content": "yo"},
            "parent": "2",
        },
        "4": {
            "message": {"author": {"role": "assistant"}, "content": "other"},
            "parent": "2",
        },
    },
}

WRAPPED: dict[str, tuple[Any, str, list[str]]] = {
    "messages": ({"messages": [HI, YO]}, CHAT, ["user", "assistant"]),
    "ShareGPT": (
        [
            {
                "id": "identity_0",
                "conversations": [
                    {"from": "system", "value": "s"},
                    {"from": "human", "value": "hi"},
                    {
                        "from": "function_call",
                        "value": '{"name": "f", "arguments": {}}',
                    },
                    {"from": "observation", "value": "r"},
                    {"from": "gpt", "value": "yo"},
                ],
            }
        ],
        "ShareGPT",
        ["system", "user", "assistant", "tool", "assistant"],
    ),
    "tau-bench": (
        [{"task_id": 0, "trial": 1, "traj": [HI, CALLING, ANSWER], "info": {"a": 1}}],
        "tau-bench",
        ["user", "assistant", "tool"],
    ),
    "tau2-bench": (
        {
            "info": {"git": "x"},
            "simulations": [
                {
                    "id": "u",
                    "task_id": "1",
                    "termination_reason": "user_stop",
                    "messages": [
                        HI,
                        {
                            "role": "assistant",
                            "content": None,
                            "tool_calls": [{"id": "c", "name": "f", "arguments": {}}],
                        },
                        {"role": "tool", "id": "c", "content": "r"},
                    ],
                }
            ],
        },
        "tau2-bench",
        ["user", "assistant", "tool"],
    ),
    "mini-SWE-agent": (
        {
            "info": {"model_stats": {"api_calls": 2}, "exit_status": "Submitted"},
            "messages": [{"role": "system", "content": "s"}, HI, YO],
            "trajectory_format": "mini-swe-agent-1",
        },
        "mini-SWE-agent",
        ["system", "user", "assistant"],
    ),
    "batch request": (
        {"custom_id": "1", "body": {"model": "m", "messages": [HI, YO]}},
        "batch request",
        ["user", "assistant"],
    ),
    "messages_display": (
        {"messages_display": [HI, YO]},
        "messages_display",
        ["user", "assistant"],
    ),
    "bare list": ([HI, YO], "list of messages", ["user", "assistant"]),
    "ChatGPT": ([CHATGPT], "ChatGPT export", ["user", "assistant"]),
    "Claude": (
        [
            {
                "uuid": "u",
                "name": "N",
                "chat_messages": [
                    {"sender": "human", "text": "hi"},
                    {"sender": "assistant", "text": "yo"},
                ],
            }
        ],
        "Claude export",
        ["user", "assistant"],
    ),
    "LangChain": (
        {
            "messages": [
                {"type": "human", "data": {"content": "hi"}},
                {
                    "type": "ai",
                    "data": {
                        "content": "",
                        "tool_calls": [{"id": "c", "name": "f", "args": {}}],
                    },
                },
                {"type": "tool", "data": {"content": "r", "tool_call_id": "c"}},
            ]
        },
        "LangChain messages",
        ["user", "assistant", "tool"],
    ),
    "Gemini CLI": (
        {
            "sessionId": "g",
            "messages": [
                {"type": "user", "content": "hi"},
                {"type": "gemini", "content": "yo"},
            ],
        },
        "Gemini CLI",
        ["user", "assistant"],
    ),
    "data": (
        {"data": [{"messages": [HI, YO]}]},
        CHAT,
        ["user", "assistant"],
    ),
}
CALLS_IN = ("ShareGPT", "tau-bench", "tau2-bench", "LangChain")


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", WRAPPED)
async def test_a_wrapping_is_recognised(
    store: SessionStore, tmp_path: Path, name: str, indent: int | None
) -> None:
    value, title, roles = WRAPPED[name]
    path = tmp_path / "file"
    path.write_text(json.dumps(value, indent=indent))

    report = await import_file(store, path)

    assert (report.sessions, report.problems) == (1, ())
    assert report.formats == {title: 1}
    [session] = (await store.sessions.list()).items
    messages = await store.messages.list(session.id)
    assert [each.role for each in messages] == roles
    assert messages[roles.index("user")].content in ("hi", "h\ni")
    calls = await store.tool_calls.list(session.id)
    assert len(calls) == (name in CALLS_IN)
    for call in calls:
        assert (call.name, call.arguments, call.status) == ("f", {}, "completed")
        assert call.output == "r"
    context = await store.messages.context(session.id)
    assert [each.id for each in context] == [each.id for each in messages]
    again = await import_file(store, path)
    assert (again.sessions, again.sessions_skipped) == (0, 1)

    # What goes out is in the chat format, and comes in again.
    out = tmp_path / "out.jsonl"
    await export_file(store, out, "chat")
    async with SessionStore("sqlite://") as second:
        report = await import_file(second, out)
        assert set(report.formats) <= {CHAT, "mini-SWE-agent", "tau2-bench"}
        [copy] = (await second.sessions.list()).items
        found = await second.messages.list(copy.id)
    assert [each.role for each in found] == roles
    assert [each.content for each in found] == [each.content for each in messages]


async def test_one_message_per_line_is_one_conversation(
    store: SessionStore, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"

    report = await imported(store, path, HI, CALLING, ANSWER)

    assert (report.sessions, report.messages, report.tool_calls) == (1, 3, 1)
    assert (await import_file(store, path)).sessions_skipped == 1
    # A part of a conversation is none.
    path.write_text(path.read_text() + '{"role": "us')
    report = await import_file(store, path, "chat")
    assert (report.sessions, report.sessions_skipped) == (0, 0)
    assert [each.kind for each in report.problems] == ["can't be stored", "not JSON"]


async def test_what_is_beside_a_list_of_conversations_is_kept(
    store: SessionStore, tmp_path: Path
) -> None:
    first, second = ({"id": str(n), "messages": [HI]} for n in (1, 2))
    given = {"a": [1, {"b": 2}], "train": [first, {"odd": 1}], "test": [second]}

    report = await imported(store, tmp_path / "a.jsonl", given)

    assert report.sessions == 2
    listed = await store.sessions.list(descending=False)
    kept = [each.metadata for each in listed.items]
    assert kept == [{"file": '{"a":[1,{"b":2}],"train":[{"odd":1}]}'}, {}]


async def test_other_branches_of_a_tree_are_kept(
    store: SessionStore, tmp_path: Path
) -> None:
    await imported(store, tmp_path / "a.jsonl", CHATGPT)

    found = await store.sessions.get("a")
    assert found is not None and found.title == "T"
    others = json.loads(found.metadata["other_branches"])
    assert others["4"]["message"]["content"] == "other"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"timestamp": "t", "type": "event_msg", "payload": {}}, "Codex"),
        (
            {
                "type": "user",
                "parentUuid": None,
                "sessionId": "s",
                "message": {"role": "user", "content": "hi"},
            },
            "Claude Code",
        ),
        ({"prompt": "a", "completion": "b"}, "no list of messages"),
        ([1, 2], "not a JSON object"),
    ],
    ids=lambda each: str(each)[:12],
)
async def test_what_is_not_read_is_told(
    store: SessionStore, tmp_path: Path, line: Any, reason: str
) -> None:
    report = await imported(store, tmp_path / "a.jsonl", line)

    [problem] = report.problems
    assert reason in problem.reason and report.sessions == 0


# Roles and calls


async def read(
    store: SessionStore, tmp_path: Path, *messages: Any
) -> tuple[ImportReport, list[Any]]:
    report = await imported(store, tmp_path / "a.jsonl", conversation(*messages))
    assert report.problems == ()
    return report, await store.messages.list("one")


async def exported(store: SessionStore, tmp_path: Path) -> list[Any]:
    await export_file(store, tmp_path / "out.jsonl", "chat")
    found: list[Any] = json.loads((tmp_path / "out.jsonl").read_text())["messages"]
    return found


async def test_roles_have_many_names(store: SessionStore, tmp_path: Path) -> None:
    names = {
        "developer": Role.DEVELOPER,
        "human": Role.USER,
        "GPT": Role.ASSISTANT,
        "model": Role.ASSISTANT,
        "ai": Role.ASSISTANT,
        "function": Role.TOOL,
        "observation": Role.TOOL,
        "exit": Role.UNKNOWN,
    }
    given = [{"role": each, "content": each} for each in names]

    report, messages = await read(store, tmp_path, *given)

    assert [each.role for each in messages] == list(names.values())
    assert messages[-1].role_raw == "exit"
    assert report.reasons == {"role exit: reads as unknown": 1}
    assert await exported(store, tmp_path) == given


async def test_a_legacy_function_call_is_a_tool_call(
    store: SessionStore, tmp_path: Path
) -> None:
    given = [
        HI,
        {
            "role": "assistant",
            "content": None,
            "function_call": {"name": "w", "arguments": '{"a": 1}'},
        },
        {"role": "function", "name": "w", "content": "sunny"},
    ]

    _, messages = await read(store, tmp_path, *given)

    [call] = await store.tool_calls.list("one")
    assert (call.name, call.arguments, call.output) == ("w", {"a": 1}, "sunny")
    assert messages[1].tool_calls[0]["id"] == call.call_id == messages[2].tool_call_id
    assert len(await store.messages.context("one")) == 3
    assert await exported(store, tmp_path) == given


async def test_calls_and_answers_without_ids_are_paired_by_position(
    store: SessionStore, tmp_path: Path
) -> None:
    def named(name: str, **rest: Any) -> dict[str, Any]:
        return {"function": {"name": name, "arguments": {}}, **rest}

    given = [
        {"role": "assistant", "tool_calls": [named("f"), named("g"), named("f")]},
        {"role": "tool", "name": "g", "content": "of g"},
        {"role": "tool", "content": "of the first f"},
        {"role": "tool", "tool_call_id": "unknown", "content": "of the second f"},
        {"role": "tool", "content": "of none"},
        {"role": "assistant", "tool_calls": [named("h", id="own"), named("i", id=5)]},
        {"role": "tool", "content": "of h"},
        {"role": "tool", "tool_call_id": "other", "content": "of i"},
    ]

    _, messages = await read(store, tmp_path, *given)

    calls = await store.tool_calls.list("one")
    assert [(each.name, each.output) for each in calls] == [
        ("f", "of the first f"),
        ("g", "of g"),
        ("f", "of the second f"),
        ("h", "of h"),
        ("i", "of i"),
    ]
    assert len({each.call_id for each in calls}) == 5
    kept = [each.id for each in await store.messages.context("one")]
    # In the order of the calls.
    answered = [each.id for each in messages if each.content != "of none"]
    assert sorted(kept) == sorted(answered)
    assert await exported(store, tmp_path) == given


async def test_blocks_of_content_make_calls_and_answers(
    store: SessionStore, tmp_path: Path
) -> None:
    given = [
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "tool_use", "id": "a", "name": "ls", "input": {"p": 1}},
                {"type": "tool_use", "id": "b", "name": "rm", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "b", "is_error": True},
                {"type": "tool_result", "tool_use_id": "a", "content": "x"},
            ],
        },
    ]

    await read(store, tmp_path, *given)

    calls = await store.tool_calls.list("one")
    assert [(each.call_id, each.status, each.output) for each in calls] == [
        ("a", "completed", "x"),
        ("b", "failed", None),
    ]
    assert await exported(store, tmp_path) == given
    types = [each.type for each in await store.events.list("one")]
    assert types.count("tool_call.completed") == types.count("tool_call.started") == 2


async def test_what_no_field_can_hold_is_kept_and_told(
    store: SessionStore, tmp_path: Path
) -> None:
    given = [
        {"role": "user", "name": 5, "content": "a"},
        {"role": "user", "name": "a\x00", "content": "cut \ud83d"},
        {"role": "user", "content": "x", "tool_calls": [CALL], "model": "\ud83d"},
        {"role": "tool", "tool_call_id": ["x"], "content": "r"},
    ]

    report, messages = await read(store, tmp_path, *given)

    assert sum(report.reasons.values()) == 4
    assert messages[1].content == "cut \ud83d"
    assert await exported(store, tmp_path) == given
