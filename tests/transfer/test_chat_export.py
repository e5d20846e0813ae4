"""Conversations in the chat format: what was imported comes out equal, and what was
made here can be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.files.chat_files import SAMPLE
from turnstore.records import Usage
from turnstore.store import SessionStore
from turnstore.transfer import export_file, import_file


def read(path: Path) -> list[Any]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


async def exported(store: SessionStore, tmp_path: Path) -> list[Any]:
    await export_file(store, tmp_path / "out.jsonl", "chat")
    return read(tmp_path / "out.jsonl")


async def test_nulls_odd_keys_and_large_numbers_come_out(
    store: SessionStore, tmp_path: Path
) -> None:
    line = {
        "id": "x" * 300,
        "n": 0,
        "text": "0",
        "none": None,
        "tools": [{"a": 10**30}],
        "messages": [
            {"role": "user", "content": None, "name": None, "extra": {"a": [1]}},
            {"role": "user", "content": [{"type": "text", "text": "é\u0000"}]},
            {"role": "assistant", "tool_calls": [], "refusal": None},
            {"content": "", "role": "tool", "tool_call_id": "unknown"},
        ],
    }
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(line) + "\n" + json.dumps({"messages": []}) + "\n")
    await import_file(store, path)

    assert await exported(store, tmp_path) == [line, {"messages": []}]


async def test_a_session_made_here_is_a_conversation(
    store: SessionStore, tmp_path: Path
) -> None:
    session = await store.sessions.create(id="mine", model="m", metadata={"k": "0"})
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    await store.messages.append(session.id, "user", "hello")
    used = Usage(prompt_tokens=1)
    asking = await store.messages.append(
        session.id, "assistant", tool_calls=[call], usage=used
    )
    await store.tool_calls.create(session.id, "f", {}, message_id=asking.id)
    await store.tool_calls.create(session.id, "alone", {})
    await store.messages.append(session.id, "tool", {"a": 1}, tool_call_id="c")
    await store.events.append(session.id, "x")

    report = await export_file(store, tmp_path / "out.jsonl", "chat")

    assert read(tmp_path / "out.jsonl") == [
        {
            "id": "mine",
            "k": "0",
            "model": "m",
            "messages": [
                {"role": "user", "content": "hello"},
                {"role": "assistant", "tool_calls": [call]},
                {"role": "tool", "content": {"a": 1}, "tool_call_id": "c"},
            ],
        }
    ]
    assert (report.tool_calls, report.events) == (1, 0)
    assert report.reasons == {
        "events": 1,
        "messages.usage": 1,
        "tool_calls: not in a message": 1,
    }
    async with SessionStore("sqlite://") as second:
        await import_file(second, tmp_path / "out.jsonl")
        found = await second.sessions.get("mine")
    assert found is not None
    assert (found.model, found.metadata) == ("m", {"k": "0", "model": "m"})


async def test_metadata_that_the_format_has_itself_is_left_out_and_told(
    store: SessionStore, tmp_path: Path
) -> None:
    await store.sessions.create(id="mine", metadata={"messages": "x", "id": "y"})

    report = await export_file(store, tmp_path / "out.jsonl", "chat")

    assert read(tmp_path / "out.jsonl") == [{"id": "mine", "messages": []}]
    assert report.reasons == {
        "metadata id: the format has its own": 1,
        "metadata messages: the format has its own": 1,
    }


async def test_messages_added_to_an_imported_conversation_come_behind(
    store: SessionStore, tmp_path: Path
) -> None:
    await import_file(store, SAMPLE)
    [first, *_] = read(SAMPLE)
    await store.messages.append(first["id"], "user", "more")

    [found, *_] = await exported(store, tmp_path)

    assert found["messages"] == [
        *first["messages"],
        {"role": "user", "content": "more"},
    ]
