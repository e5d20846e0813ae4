"""The import of a chat file: each line once, bad lines left out, progress told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.files.chat_files import SAMPLE, conversation, imported, write
from turnstore.errors import InvalidArgument, ReadOnlyStore
from turnstore.options import StoreOptions
from turnstore.records import SessionFilter
from turnstore.store import SessionStore
from turnstore.transfer import ImportReport, import_file
from turnstore.transfer.chat import importing, reading
from turnstore.transfer.chat.formats import CHAT

CALLING: dict[str, Any] = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {
            "id": "c",
            "type": "function",
            "function": {"name": "look", "arguments": "{}"},
        }
    ],
}


async def test_again_adds_nothing(store: SessionStore, tmp_path: Path) -> None:
    no_id = {"messages": [{"role": "user", "content": "hello"}]}
    path = write(tmp_path / "a.jsonl", conversation(CALLING), no_id)
    first = await import_file(store, path)
    before = await store.sessions.list()
    # The same content, written with other white space.
    write(
        path,
        json.dumps(conversation(CALLING), indent=None),
        json.dumps(no_id, separators=(",", ":")),
    )

    second = await import_file(store, path)

    assert (first.sessions, first.sessions_skipped) == (2, 0)
    assert second == ImportReport(sessions_skipped=2, formats={CHAT: 2})
    assert await store.sessions.list() == before


async def test_a_stopped_import_is_completed(
    store: SessionStore, tmp_path: Path
) -> None:
    objects = [{**conversation(CALLING), "id": f"s{n}"} for n in range(100)]
    await imported(store, tmp_path / "part.jsonl", *objects[:40])

    report = await imported(store, tmp_path / "all.jsonl", *objects)

    assert (report.sessions, report.sessions_skipped) == (60, 40)
    assert await store.sessions.count(SessionFilter()) == 100


async def test_two_imports_at_once_add_each_line_once(
    store: SessionStore, tmp_path: Path
) -> None:
    objects = [{**conversation(CALLING), "id": f"s{n}"} for n in range(50)]
    path = write(tmp_path / "a.jsonl", *objects)
    reports: list[ImportReport] = []

    async def one() -> None:
        reports.append(await import_file(store, path))

    async with anyio.create_task_group() as group:
        group.start_soon(one)
        group.start_soon(one)

    assert sum(each.sessions for each in reports) == 50
    assert sum(each.sessions_skipped for each in reports) == 50
    assert all(each.problems == () for each in reports)


async def test_a_line_twice_in_a_file_is_skipped(
    store: SessionStore, tmp_path: Path
) -> None:
    one = conversation({"role": "user", "content": "hello"})

    report = await imported(store, tmp_path / "a.jsonl", one, one)

    assert report == ImportReport(
        sessions=1, messages=1, events=1, sessions_skipped=1, formats={CHAT: 2}
    )


async def test_another_conversation_under_a_taken_id_is_reported(
    store: SessionStore, tmp_path: Path
) -> None:
    await store.sessions.create(id="theirs")
    one = conversation({"role": "user", "content": "hello"})
    other = conversation({"role": "user", "content": "bye"})

    report = await imported(
        store, tmp_path / "a.jsonl", one, other, {**one, "id": "theirs"}
    )

    assert (report.sessions, report.sessions_skipped) == (1, 0)
    assert [each.line for each in report.problems] == [2, 3]
    assert "other content" in report.problems[0].reason
    [kept] = await store.messages.list("one")
    assert kept.content == "hello"
    assert await store.messages.list("theirs") == []


def with_call(call: Any) -> dict[str, Any]:
    return conversation({"role": "assistant", "tool_calls": [call]})


BAD_LINES: dict[str, tuple[Any, str]] = {
    "not JSON": ("{", "not JSON"),
    "no escape": ('{"id":"one","messages":[],"a":"\\q"}', "not JSON"),
    "text": ("role: user", "not JSON: neither an object nor a list"),
    "cut in a text": (
        '{"id":"one","messages":[{"role":"us',
        "a text has no end",
    ),
    "cut behind a key": ('{"id":"one","messages":', "not JSON"),
    "cut in a list": ('{"id":"one","messages":[', "not JSON"),
    "too deep": ("[" * 100_000, "not JSON"),
    "array": ("[]", "not a JSON object"),
    "no messages": ('{"id": "one"}', "no list of messages"),
    "messages no list": ('{"messages": {}}', "no list of messages"),
    "message no object": (conversation("hello"), "messages[0]: not an object"),
    "no role": (conversation({"content": "hello"}), "messages[0]: role must be"),
    "role no text": (conversation({"role": ["user"]}), "role must be"),
    "NUL in a role": (conversation({"role": "a\x00"}), "role must not contain NUL"),
    "long role": (conversation({"role": "a" * 256}), "role is too long"),
    "calls no list": (
        conversation({"role": "assistant", "tool_calls": "x"}),
        "tool_calls must be a list",
    ),
    "call no object": (with_call(5), "tool_calls[0] must be an object"),
    "call without function": (with_call({"id": "a"}), "function must be an object"),
    "call without name": (
        with_call({"id": "a", "function": {}}),
        "function.name must be text",
    ),
    "deep content": (
        conversation({"role": "user", "content": json.loads("[" * 201 + "]" * 201)}),
        "200 levels",
    ),
}


@pytest.mark.parametrize("name", BAD_LINES)
async def test_a_bad_line_is_reported_and_the_rest_goes_in(
    store: SessionStore, tmp_path: Path, name: str
) -> None:
    bad, reason = BAD_LINES[name]
    good = {**conversation(CALLING), "id": "good"}
    path = tmp_path / "a.jsonl"

    report = await imported(store, path, "", bad, good)

    assert (report.sessions, report.messages, report.tool_calls) == (1, 1, 1)
    [problem] = report.problems
    assert (problem.file, problem.line) == (str(path), 2)
    assert reason in problem.reason
    assert "\n" not in str(problem)
    assert [each.id for each in (await store.sessions.list()).items] == ["good"]


async def test_a_payload_that_is_too_large_is_a_problem_of_its_line(
    tmp_path: Path,
) -> None:
    large = conversation({"role": "user", "content": "x" * 2_000})
    small = {**conversation({"role": "user", "content": "x"}), "id": "small"}
    options = StoreOptions(payload_bytes_max=1_000)

    async with SessionStore(tmp_path / "store.db", options) as store:
        report = await imported(store, tmp_path / "a.jsonl", large, small)

        assert (report.sessions, [each.line for each in report.problems]) == (1, [1])
        assert "2002 bytes" in report.problems[0].reason
        assert await store.sessions.get("one") is None


async def test_a_line_that_is_too_long_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "VALUE_BYTES_MIN", 1)
    parts = [{"role": "user", "content": "x" * 500} for _ in range(7)]
    line = json.dumps(conversation(*parts))
    line = line.replace("xxx", "x" * (4_003 - len(line)), 1)
    one_more = line.replace("one", "two").replace("xxx", "xxxx", 1)
    longer = line.replace("xxx", "x" * 100_000)

    options = StoreOptions(payload_bytes_max=1_000)
    async with SessionStore(tmp_path / "store.db", options) as store:
        report = await imported(store, tmp_path / "a.jsonl", one_more, longer, line)

    assert [each.line for each in report.problems] == [1, 2]
    assert report.problems[0].reason == (
        "more than 4000 bytes: a larger payload_bytes_max allows more"
    )
    assert (report.sessions, report.messages) == (1, 7)


async def test_the_last_line_needs_no_end_and_a_byte_order_mark_is_no_content(
    store: SessionStore, tmp_path: Path
) -> None:
    line = json.dumps(conversation({"role": "user", "content": "hello"}))
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf" + line.encode() + b"\r\n\r\n" + b'{"messages": []}'
    )

    report = await import_file(store, path)

    assert (report.sessions, report.problems) == (2, ())


async def test_progress_is_told_after_each_batch(
    store: SessionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH_SESSIONS", 2)
    objects = [{**conversation(CALLING), "id": f"s{n}"} for n in range(5)]
    path = write(tmp_path / "a.jsonl", *objects)
    size_bytes = path.stat().st_size
    told: list[tuple[int, int]] = []

    report = await import_file(
        store, path, on_progress=lambda done, total: told.append((done, total))
    )

    assert report.sessions == 5
    assert [total for _, total in told] == [size_bytes] * 3
    done = [each for each, _ in told]
    assert done == sorted(set(done)) and done[-1] == size_bytes


async def test_what_is_no_known_format_is_refused(
    store: SessionStore, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.jsonl", '{"rows": []}', "text")

    with pytest.raises(InvalidArgument, match=r"known are .*chat"):
        await import_file(store, path)
    with pytest.raises(
        InvalidArgument, match=r"unknown format 'csv': known are .*chat"
    ):
        await import_file(store, path, "csv")
    with pytest.raises(FileNotFoundError):
        await import_file(store, tmp_path / "missing.jsonl", "chat")
    assert await store.sessions.count(SessionFilter()) == 0


async def test_a_format_is_recognised_behind_bad_lines(
    store: SessionStore, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.jsonl", "", "{", {"messages": []})

    report = await import_file(store, path)

    assert (report.sessions, [each.line for each in report.problems]) == (1, [2])


async def test_an_error_of_the_store_ends_the_import(tmp_path: Path) -> None:
    async with SessionStore(tmp_path / "store.db"):
        pass
    options = StoreOptions(read_only=True)
    async with SessionStore(tmp_path / "store.db", options) as store:
        with pytest.raises(ReadOnlyStore):
            await import_file(store, SAMPLE)
