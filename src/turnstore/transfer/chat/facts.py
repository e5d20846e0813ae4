"""Times and token counts, under the names that they have in different systems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from turnstore.records import Json, Usage
from turnstore.sql import codec
from turnstore.store.ledger import COUNT_MAX

CREATED: Final = (
    *("created_at", "createdAt", "create_time", "created", "start_time", "startTime"),
    *("started_at", "timestamp", "ts", "time", "date", "inserted_at"),
)
UPDATED: Final = (
    *("updated_at", "updatedAt", "update_time", "lastUpdated", "last_updated"),
    *("end_time", "ended_at", "modified_at"),
)
USAGE: Final = (
    *("usage", "token_usage", "usage_metadata", "usageMetadata", "tokens"),
    "tokenUsage",
)
_INSIDE: Final = ("extra", "metadata", "response_metadata", "response", "info", "raw")
"""Objects in which a message may keep what is about it."""

_PROMPT: Final = (
    *("prompt_tokens", "input_tokens", "promptTokens", "inputTokens"),
    *("prompt_token_count", "promptTokenCount", "input", "prompt"),
)
_COMPLETION: Final = (
    *("completion_tokens", "output_tokens", "completionTokens", "outputTokens"),
    *("candidates_token_count", "candidatesTokenCount", "output", "completion"),
)
_CACHE_READ: Final = (
    *("cache_read_tokens", "cache_read_input_tokens", "cached_tokens"),
    *("cached_input_tokens", "cachedTokens", "cachedInputTokens", "cached"),
    *("cached_content_token_count", "cachedContentTokenCount"),
    *("cacheReadInputTokens", "cache_read"),
)
_CACHE_CREATION: Final = (
    *("cache_creation_tokens", "cache_creation_input_tokens", "cache_write_tokens"),
    *("cache_write_input_tokens", "cacheCreationInputTokens", "cache_creation"),
)
_THINKING: Final = (
    *("thinking_tokens", "reasoning_tokens", "reasoning_output_tokens"),
    *("thoughts_token_count", "thoughtsTokenCount", "reasoningTokens"),
    *("reasoning", "thoughts"),
)
_CALLS: Final = ("api_calls", "requests", "n_calls")
_DETAILS: Final = (
    *("prompt_tokens_details", "input_tokens_details", "input_token_details"),
    *("completion_tokens_details", "output_tokens_details", "output_token_details"),
)
_SECONDS_MAX: Final = 10**11
"""Of the year 5138. Greater numbers are milliseconds, from 1973 on."""


def micros(value: Json) -> int | None:
    """Return a time as microseconds: ISO 8601, or seconds, milliseconds, microseconds
    or nanoseconds since 1970. A time without a zone is in UTC."""
    if isinstance(value, str):
        text = value.strip()
        try:
            value = float(text)
        except ValueError:
            return _micros_of_text(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 10**8 <= value < 10**20:  # not before 1973: a small number is a count
        return None
    return _scaled(value)


def _scaled(value: float) -> int | None:
    for unit in (1_000_000, 1_000, 1):
        if value < _SECONDS_MAX * 1_000_000 // unit:
            return _bounded(round(value * unit))
    return _bounded(int(value // 1_000))


def _bounded(found: int) -> int | None:
    try:
        codec.from_micros(found)
    except (OverflowError, ValueError):
        return None
    return found


def _micros_of_text(text: str) -> int | None:
    if not 8 <= len(text) <= 40:
        return None
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is None:
            time = time.replace(tzinfo=UTC)
        return codec.to_micros(time, "time")
    except (ValueError, OverflowError):
        return None


def places(message: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a message, and the objects in it that may say more about it."""
    yield message
    for key in _INSIDE:
        inner = message.get(key)
        if isinstance(inner, dict):
            yield inner
            deeper = inner.get("response")
            if isinstance(deeper, dict):
                yield deeper


def first_time(
    given: Iterator[Mapping[str, Any]], keys: Sequence[str]
) -> tuple[int | None, str | None]:
    """Return the first time under one of the keys, and the key of one that is none."""
    bad: str | None = None
    for place in given:
        for key in keys:
            value = place.get(key)
            if isinstance(value, dict):
                value = value.get("created")
            if value is None:
                continue
            found = micros(value)
            if found is not None:
                return found, None
            bad = bad or key
    return None, bad


def usage(given: Iterator[Mapping[str, Any]]) -> tuple[Usage | None, bool]:
    """Return the first token counts, and whether there are some that are none."""
    is_bad = False
    for place in given:
        for counts in (*(place.get(key) for key in USAGE), place):
            if isinstance(counts, dict):
                found, is_odd = _counts(counts, is_bare=counts is place)
                if found is not None:
                    return found, False
                is_bad = is_bad or is_odd
    return None, is_bad


def _counts(given: Mapping[str, Any], *, is_bare: bool) -> tuple[Usage | None, bool]:
    """
    :param is_bare: the counts stand among other keys, so short names mean other things.
    """
    if is_bare and not any("oken" in key for key in given):
        return None, False
    inner = [each for key in _DETAILS if isinstance(each := given.get(key), dict)]
    cache = given.get("cache")
    cache = cache if isinstance(cache, dict) else {}

    def count(keys: Sequence[str], *, nested: bool = False) -> Any:
        for place in [given, *inner] if nested else [given]:
            for key in keys:
                if is_bare and "oken" not in key:
                    continue
                if place.get(key) is not None and not isinstance(place[key], dict):
                    return place[key]
        return None

    counts = {
        "prompt_tokens": count(_PROMPT),
        "completion_tokens": count(_COMPLETION),
        "cache_read_tokens": count(_CACHE_READ, nested=True) or cache.get("read"),
        "cache_creation_tokens": count(_CACHE_CREATION, nested=True)
        or cache.get("write"),
        "thinking_tokens": count(_THINKING, nested=True),
        "api_calls": None if is_bare else count(_CALLS),
    }
    known = {name: each for name, each in counts.items() if each is not None}
    if not known.keys() & {"prompt_tokens", "completion_tokens"}:
        return None, False
    try:
        numbers = {name: _number(each) for name, each in known.items()}
    except (TypeError, ValueError, OverflowError):
        return None, True
    if "cache_read_input_tokens" in given or "cache_creation_input_tokens" in given:
        if "prompt_tokens" not in given:
            # Anthropic counts apart from the rest what it read from a cache.
            numbers["prompt_tokens"] = (
                numbers.get("prompt_tokens", 0)
                + numbers.get("cache_read_tokens", 0)
                + numbers.get("cache_creation_tokens", 0)
            )
    if max(numbers.values()) > COUNT_MAX:
        return None, True
    return msgspec.convert(numbers, Usage), False


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    number = int(value)
    if number != value or not 0 <= number <= COUNT_MAX:
        raise ValueError
    return number
