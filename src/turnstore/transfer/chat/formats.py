"""Finds conversations in a JSON value, whatever they are wrapped in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from turnstore.records import Json

CHAT: Final = "OpenAI chat format"

# The keys of a list of messages, and what files with it are called.
_LISTS: Final = {
    "messages": CHAT,
    "conversations": "ShareGPT",
    "conversation": "ShareGPT",
    "traj": "tau-bench",
    "chat_messages": "Claude export",
    "messages_display": "messages_display",
    "history": "history",
    "chat_history": "chat_history",
    "dialogue": "dialogue",
    "dialog": "dialogue",
    "turns": "turns",
    "trajectory": "trajectory",
    "transcript": "transcript",
    "items": "items",
    "contents": "Gemini request",
    "events": "events",
}
_WRAPPERS: Final = {
    "body": "batch request",
    "request": "logged request",
    "input": "logged request",
    "inputs": "logged request",
    "kwargs": "logged request",
    "payload": "logged request",
    "conversation": "conversation",
    "chat": "Open WebUI export",
    "data": "data",
}
"""The keys of an object that has the list."""
_ROLE_KEYS: Final = ("role", "from", "sender", "author", "speaker")
_CONTENT_KEYS: Final = (
    *("content", "value", "text", "parts", "message"),
    *("tool_calls", "function_call"),
)
_SPEAKING_TYPES: Final = ("human", "ai", "system", "tool", "user", "gemini")


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation.

    :param format: what its wrapping is called.
    :param source: what it was found as, which tells it from others.
    :param about: the other keys of the object.
    """

    format: str
    source: Json
    messages: list[Json]
    about: dict[str, Json]


def is_message(value: Json) -> bool:
    """Whether a value is one message, rather than a conversation."""
    if not isinstance(value, dict):
        return False
    if any(isinstance(value.get(key), list) for key in ("messages", "conversations")):
        return False
    inner = value.get("message")
    if isinstance(inner, dict) and isinstance(inner.get("role"), str):
        return True
    info = value.get("info")
    if isinstance(info, dict) and "role" in info and "parts" in value:
        return True
    speaks = any(key in value for key in _ROLE_KEYS) or (
        value.get("type") in _SPEAKING_TYPES
    )
    return speaks and any(key in value for key in (*_CONTENT_KEYS, "data", "toolCalls"))


def find(value: Json) -> Iterator[Found]:
    """Yield the conversations that a value is or has."""
    if isinstance(value, list):
        if value and is_message(value[0]):
            yield Found(
                format="list of messages", source=value, messages=value, about={}
            )
        else:
            for each in value:
                if isinstance(each, dict | list):
                    yield from find(each)
    elif isinstance(value, dict):
        found = _in_object(value)
        if found is not None:
            yield found
        else:
            yield from _in_lists(value)


def _in_object(value: dict[str, Any]) -> Found | None:
    if isinstance(value.get("mapping"), dict) and "messages" not in value:
        return _chatgpt(value)
    key = _list_key(value)
    if key is not None:
        about = {name: each for name, each in value.items() if name != key}
        return Found(
            format=_name(key, value), source=value, messages=value[key], about=about
        )
    for wrapper, name in _WRAPPERS.items():
        inner: Any = value.get(wrapper)
        key = _list_key(inner) if isinstance(inner, dict) else None
        if key is None:
            continue
        rest = {each: inner[each] for each in inner if each != key}
        about = {**value, wrapper: rest}
        return Found(format=name, source=value, messages=inner[key], about=about)
    return None


def _list_key(value: dict[str, Any]) -> str | None:
    for key in _LISTS:
        listed = value.get(key)
        if not isinstance(listed, list):
            continue
        if listed and is_message(listed[0]):
            return key
        if key == "messages" and not _are_conversations(listed):
            return key
    return None


def _are_conversations(listed: list[Json]) -> bool:
    return bool(listed) and isinstance(listed[0], dict) and bool(_list_key(listed[0]))


def _name(key: str, value: dict[str, Any]) -> str:
    if key == "messages":
        info = value.get("info")
        if "trajectory_format" in value or (
            isinstance(info, dict) and "model_stats" in info
        ):
            return "mini-SWE-agent"
        if "simulation_id" in value or (
            "task_id" in value and "termination_reason" in value
        ):
            return "tau2-bench"
    return _LISTS[key]


def _in_lists(value: dict[str, Any]) -> Iterator[Found]:
    """Yield the conversations in the lists of an object. What else it has goes with the
    first of them."""
    conversations: list[Found] = []
    rest: dict[str, Json] = {}
    for key, listed in value.items():
        several = listed if isinstance(listed, list) else []
        parts = [
            _in_object(each) if isinstance(each, dict) else None for each in several
        ]
        found = [each for each in parts if each is not None]
        conversations += found
        others = [
            each for each, part in zip(several, parts, strict=True) if part is None
        ]
        if not found:
            rest[key] = listed
        elif others:
            rest[key] = others
    if conversations and rest:
        about = {**conversations[0].about, "file": rest}
        conversations[0] = msgspec.structs.replace(conversations[0], about=about)
    yield from conversations


def _chatgpt(value: dict[str, Any]) -> Found | None:
    """Return the branch of a tree of messages that ChatGPT shows."""
    nodes = value["mapping"]
    at = value.get("current_node")
    if at not in nodes:
        at = next(reversed(nodes), None)
    branch: list[Any] = []
    seen: set[str] = set()
    while isinstance(at, str) and at not in seen and isinstance(nodes.get(at), dict):
        seen.add(at)
        branch.append(nodes[at].get("message"))
        at = nodes[at].get("parent")
    messages = [each for each in reversed(branch) if isinstance(each, dict)]
    if not messages:
        return None
    about = {name: each for name, each in value.items() if name != "mapping"}
    others = {name: each for name, each in nodes.items() if name not in seen}
    if others:
        about["other_branches"] = others
    return Found(format="ChatGPT export", source=value, messages=messages, about=about)
