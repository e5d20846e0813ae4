"""Times, titles, models and token counts that a chat file says."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.files.chat_files import conversation, imported
from turnstore import SessionFilter, SessionStore, Usage
from turnstore.transfer.chat import facts

DAY = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
SECONDS = int(DAY.timestamp())

TIMES: dict[Any, datetime] = {
    "2025-01-02T03:04:05Z": DAY,
    "2025-01-02T04:04:05+01:00": DAY,
    "2025-01-02 03:04:05": DAY,
    "2025-01-02T03:04:05.250000Z": DAY.replace(microsecond=250_000),
    "2025-01-02": DAY.replace(hour=0, minute=0, second=0),
    SECONDS: DAY,
    SECONDS + 0.25: DAY.replace(microsecond=250_000),
    str(SECONDS): DAY,
    SECONDS * 1_000: DAY,
    SECONDS * 1_000_000: DAY,
    SECONDS * 1_000_000_000: DAY,
}


@pytest.mark.parametrize("given", TIMES, ids=str)
async def test_a_conversation_is_of_the_time_that_it_says(
    store: SessionStore, tmp_path: Path, given: Any
) -> None:
    message = {"role": "user", "content": "x", "timestamp": given}
    usage = {"prompt_tokens": 5}
    counted = {"role": "assistant", "content": "y", "created_at": given, "usage": usage}

    report = await imported(
        store,
        tmp_path / "a.jsonl",
        conversation(message, counted, created_at=given, updated_at=given),
        {"id": "two", "messages": [message, {"role": "assistant", "content": "y"}]},
    )

    assert (report.sessions, report.reasons, report.problems) == (2, {}, ())
    for session in (await store.sessions.list()).items:
        times = [each.created_at for each in await store.messages.list(session.id)]
        assert {session.created_at, session.updated_at, *times} == {TIMES[given]}
    assert await store.usage.by_day(SessionFilter()) == {
        date(2025, 1, 2): Usage(prompt_tokens=5, api_calls=1)
    }


@pytest.mark.parametrize(
    "given", ["soon", "", 0, 5, -1, True, 1e30, "1e400", [], {}, "2025-99-99", 10**40]
)
async def test_what_is_no_time_is_kept_and_told(
    store: SessionStore, tmp_path: Path, given: Any
) -> None:
    before = datetime.now(UTC)

    report = await imported(
        store,
        tmp_path / "a.jsonl",
        conversation({"role": "user", "content": "x", "time": given}, created=given),
    )

    session = await store.sessions.get("one")
    assert session is not None and session.created_at >= before
    told = (
        {}
        if given == {}
        else {
            "created kept as it is: no time": 1,
            "messages.time kept as it is: no time": 1,
        }
    )
    assert report.reasons == told


async def test_messages_without_a_time_have_that_of_the_one_before(
    store: SessionStore, tmp_path: Path
) -> None:
    later = "2025-01-02T03:05:00Z"
    await imported(
        store,
        tmp_path / "a.jsonl",
        conversation(
            {"role": "user", "content": "a"},
            {"role": "user", "content": "b", "timestamp": later},
            {"role": "user", "content": "c"},
            create_time=SECONDS,
        ),
    )
    times = [each.created_at for each in await store.messages.list("one")]
    assert [each.minute for each in times] == [4, 5, 5]
    session = await store.sessions.get("one")
    assert session is not None
    assert (session.created_at, session.updated_at) == (DAY, times[2])


COUNTS: dict[str, tuple[dict[str, Any], Usage]] = {
    "OpenAI": (
        {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
        Usage(
            prompt_tokens=10,
            completion_tokens=5,
            cache_read_tokens=4,
            thinking_tokens=2,
        ),
    ),
    "Responses": (
        {
            "input_tokens": 10,
            "output_tokens": 5,
            "input_tokens_details": {"cached_tokens": 4},
            "output_tokens_details": {"reasoning_tokens": 2},
        },
        Usage(
            prompt_tokens=10,
            completion_tokens=5,
            cache_read_tokens=4,
            thinking_tokens=2,
        ),
    ),
    "Anthropic": (
        {
            "input_tokens": 10,
            "output_tokens": 5,
            "cache_read_input_tokens": 4,
            "cache_creation_input_tokens": 3,
            "cache_creation": {"ephemeral_5m_input_tokens": 3},
        },
        Usage(
            prompt_tokens=17,
            completion_tokens=5,
            cache_read_tokens=4,
            cache_creation_tokens=3,
        ),
    ),
    "Codex": (
        {"input_tokens": 10, "output_tokens": 5, "cached_input_tokens": 4},
        Usage(prompt_tokens=10, completion_tokens=5, cache_read_tokens=4),
    ),
    "Gemini": (
        {"promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 1},
        Usage(prompt_tokens=10, completion_tokens=5, thinking_tokens=1),
    ),
    "Gemini CLI": (
        {"input": 10, "output": 5, "cached": 4, "thoughts": 1, "total": 16},
        Usage(
            prompt_tokens=10,
            completion_tokens=5,
            cache_read_tokens=4,
            thinking_tokens=1,
        ),
    ),
    "LangChain": (
        {
            "input_tokens": 10,
            "output_tokens": 5,
            "input_token_details": {"cache_read": 4, "cache_creation": 3},
        },
        Usage(
            prompt_tokens=10,
            completion_tokens=5,
            cache_read_tokens=4,
            cache_creation_tokens=3,
        ),
    ),
    "only one": ({"output_tokens": 5.0}, Usage(completion_tokens=5)),
}


@pytest.mark.parametrize("place", ["message", "nested", "conversation"])
@pytest.mark.parametrize("name", COUNTS)
async def test_token_counts_have_many_names(
    store: SessionStore, tmp_path: Path, name: str, place: str
) -> None:
    counts, usage = COUNTS[name]
    message: dict[str, Any] = {"role": "assistant", "content": "y"}
    about: dict[str, Any] = {"model": "m", "created_at": SECONDS}
    if place == "message":
        message["usage"] = counts
    elif place == "nested":
        message["extra"] = {"response": {"model": "m", "usage": counts}}
    else:
        about["usage"] = counts

    report = await imported(store, tmp_path / "a.jsonl", conversation(message, **about))

    assert report.reasons == {}
    called = usage + Usage(api_calls=1)
    assert await store.usage.session("one") == called
    assert await store.usage.by_model("one") == {"m": called}
    assert await store.usage.by_day(SessionFilter()) == {date(2025, 1, 2): called}
    [found] = await store.messages.list("one")
    assert found.usage == (None if place == "conversation" else usage)


@pytest.mark.parametrize(
    "counts", [{"prompt_tokens": -1}, {"prompt_tokens": "x"}, {"output_tokens": 10**30}]
)
async def test_what_are_no_counts_is_kept_and_told(
    store: SessionStore, tmp_path: Path, counts: Any
) -> None:
    message = {"role": "assistant", "content": "y", "usage": counts}

    report = await imported(store, tmp_path / "a.jsonl", conversation(message))

    assert report.sessions == 1
    assert report.reasons == {"messages.usage kept as it is: no counts of tokens": 1}
    assert await store.usage.session("one") == Usage()


async def test_title_model_and_system_prompt(
    store: SessionStore, tmp_path: Path
) -> None:
    source = conversation(
        {"role": "assistant", "content": "y", "metadata": {"model_slug": "small"}},
        title="My chat",
        model="large",
        system="be\nbrief",
    )
    await imported(store, tmp_path / "a.jsonl", source)

    session = await store.sessions.get("one")
    assert session is not None
    assert (session.title, session.model, session.last_model) == (
        "My chat",
        "large",
        "small",
    )
    assert session.system_prompt == "be\nbrief"
    found = await store.sessions.list(SessionFilter(title_contains="my CHAT"))
    assert found.items == [session]


async def test_a_title_that_is_cut_in_a_character_is_kept_and_told(
    store: SessionStore, tmp_path: Path
) -> None:
    report = await imported(store, tmp_path / "a.jsonl", conversation(title="a\ud83d"))

    session = await store.sessions.get("one")
    assert session is not None and session.title is None
    assert session.metadata == {"title": '"a\\ud83d"'}
    assert report.reasons == {
        "title kept as it is: title must not contain a lone surrogate": 1
    }


@pytest.mark.parametrize("given", [float("nan"), float("inf"), -1, None, b"2025-01-02"])
def test_no_time(given: Any) -> None:
    assert facts.micros(given) is None
