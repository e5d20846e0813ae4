"""Prints one session as text to read."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from textwrap import indent
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from turnstore.cli.terminal import counted, plain
from turnstore.records import Message, Session, SessionState, ToolCall

SHOWN_CHARS_MAX: Final = 1_000
"""How many characters of a tool call's arguments or answer are shown at most, unless
all are wanted."""

_ROLE_STYLES: Final = {
    "system": "bold magenta",
    "developer": "bold magenta",
    "user": "bold green",
    "assistant": "bold cyan",
    "tool": "bold yellow",
}


def print_state(out: Console, state: SessionState, *, full: bool) -> None:
    """Print messages by seq, tool calls under their message, and each answer once.

    Texts are not taken as markup, and control characters don't reach the terminal.
    """
    _Printer(out, full=full).print(state)


class _Printer:
    def __init__(self, out: Console, *, full: bool) -> None:
        self._out = out
        self._full = full
        self._answered: Counter[tuple[str, str]] = Counter()

    def print(self, state: SessionState) -> None:
        calls: dict[str | None, list[ToolCall]] = defaultdict(list)
        for call in state.tool_calls:
            calls[call.message_id].append(call)
        self._head(state.session)
        for message in state.messages:
            if not self._shown_with_its_call(message):
                self._message(message, calls.pop(message.id, []))
        left = [call for group in calls.values() for call in group]
        if left:
            self._line("tool calls without a message", "bold yellow")
            for call in left:
                self._call(call)

    def _head(self, session: Session) -> None:
        self._line(session.id, "bold")
        facts = [
            session.status_raw or session.status,
            counted(session.message_count, "message"),
            counted(session.tool_call_count, "tool call"),
            counted(session.event_head, "event"),
            f"updated {session.updated_at:%Y-%m-%d %H:%M:%S} UTC",
        ]
        self._line(", ".join(facts))
        for name in ("title", "agent_name", "project_root", "model", "error"):
            value = getattr(session, name)
            if value:
                self._line(f"{name}: {value}")
        for key, text in session.metadata.items():
            self._line(f"{key} = {self._shortened(text)}", "dim")

    def _message(self, message: Message, calls: list[ToolCall]) -> None:
        role = message.role_raw or message.role
        marks = [message.name, message.model, message.agent_name]
        if message.compacted_at is not None:
            marks.append("compacted")
        aside = " · ".join(each for each in marks if each)
        self._out.print()
        self._line(
            f"{message.seq} {role}" + (f" ({aside})" if aside else ""),
            _ROLE_STYLES.get(role, "bold"),
        )
        text = _text(message.content)
        if text:
            self._line(self._shortened(text) if role == "tool" else text)
        for call in calls:
            self._call(call)
        if not calls and message.tool_calls:
            self._line("tool calls:", "yellow")
            self._line(indent(self._shortened(_json(message.tool_calls)), "  "))

    def _call(self, call: ToolCall) -> None:
        known_as = f" ({call.call_id})" if call.call_id else ""
        status = call.status_raw or call.status
        self._line(f"→ {call.name}{known_as}: {status}", "yellow")
        if call.arguments is not None:
            self._line(indent(self._shortened(_text(call.arguments)), "    "))
        if call.error is not None:
            self._line(indent(f"error: {self._shortened(call.error)}", "  "), "red")
        answer = call.output if call.output is not None else _text(call.result)
        if answer:
            self._line("  answer:", "yellow")
            self._line(indent(self._shortened(answer), "    "))
        if call.call_id is not None:
            self._answered[call.call_id, answer] += 1

    def _shown_with_its_call(self, message: Message) -> bool:
        """Whether a call that was printed before has this message as its answer."""
        if message.role != "tool" or message.tool_call_id is None:
            return False
        key = (message.tool_call_id, _text(message.content))
        if not self._answered[key]:
            return False
        self._answered[key] -= 1
        return True

    def _shortened(self, text: str) -> str:
        left_out = len(text) - SHOWN_CHARS_MAX
        if self._full or left_out <= 0:
            return text
        return f"{text[:SHOWN_CHARS_MAX]}… [{left_out} characters left out]"

    def _line(self, text: str, style: str = "") -> None:
        self._out.print(Text(plain(text), style), soft_wrap=True)


def _text(content: Any) -> str:
    """Return the content of a message to read: a text, the texts of its parts, or
    JSON."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(_part(each) for each in content)
    return _json(content)


def _part(part: Any) -> str:
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return str(part["text"])
    return _json(part)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
