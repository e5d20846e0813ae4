"""Replays the events of steer's event store into messages, tool calls and usage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from turnstore.records import Json
from turnstore.sql import codec
from turnstore.transfer.files import cells
from turnstore.transfer.files.ids import UniqueIds
from turnstore.transfer.rows import (
    StoredCompaction,
    StoredEvent,
    StoredMessage,
    StoredToolCall,
    StoredUsage,
    used,
)
from turnstore.transfer.steer.content import apply_content, read_content, result_text
from turnstore.transfer.steer.rows import model_of, text_in, usage_in

_ROLES: Final = ("user", "assistant", "tool")
_ADDED: Final = ("UserMessageAdded", "AssistantMessageAdded", "ToolMessageAdded")
_DECISIONS: Final = {"approved": "approved", "denied": "denied"}


class EventReplay:
    """The state of a session after the events so far.

    ``created``: the content of the event that created the session.
    """

    def __init__(self) -> None:
        self.created: dict[str, Any] = {}
        self.config: dict[str, Any] = {}
        self.messages: list[StoredMessage] = []
        self.calls: list[StoredToolCall] = []
        self.compactions: list[StoredCompaction] = []
        self.usage: list[StoredUsage] = []
        self.last_model: str | None = None
        self.notes: Counter[str] = Counter()
        self._indexes: dict[str, int] = {}
        self._ids = UniqueIds()
        self._asking: dict[str, str] = {}
        # The latest call by its id, and the calls by the id of their request.
        self._latest: dict[str, StoredToolCall] = {}
        self._requests: dict[str, StoredToolCall] = {}
        self._archived = 0

    @property
    def last_message_id(self) -> str | None:
        return self.messages[-1].id if self.messages else None

    def apply(self, variant: str, inside: dict[str, Any], event: StoredEvent) -> None:
        """Apply the next event. One of an unknown shape changes nothing."""
        self.last_model = event.model or self.last_model
        match variant:
            case "SessionCreated":
                self.created = self.created or inside
                self._configure(inside)
            case "SessionConfigUpdated":
                self._configure(inside)
            case _ if variant in _ADDED:
                self._add_message(inside.get("message"), event)
            case "MessageUpdated":
                self._update_message(inside.get("message"))
            case "LlmUsageUpdated":
                self._add_usage(inside, event)
            case "ApprovalRequested" | "ApprovalDecided":
                self._approve(inside, event)
            case "ToolCallStarted":
                self._start_call(inside, event)
            case "ToolCallCompleted" | "ToolCallFailed":
                is_failed = variant == "ToolCallFailed"
                self._end_call(inside, event, is_failed=is_failed)
            case "ConversationCompacted":
                self._compact(inside.get("record"), event)

    def _configure(self, inside: dict[str, Any]) -> None:
        if isinstance(inside.get("config"), dict):
            self.config = inside["config"]

    # Messages

    def _add_message(self, given: Json, event: StoredEvent) -> None:
        own = cells.identifier(text_in(given, "id"))
        if own is None or own in self._indexes:
            self.notes["domain_events: a message without an id of its own"] += 1
            return
        timestamp = given.get("timestamp")
        created_at = cells.to_micros(timestamp, cells.SECOND)
        parent = text_in(given, "parent_message_id")
        message = StoredMessage(
            id=own,
            role="unknown",
            model=event.model,
            parent_id=parent if parent in self._indexes else None,
            created_at=event.created_at if created_at is None else created_at,
        )
        self._fill(message, given)
        self._indexes[own] = len(self.messages)
        self.messages.append(message)

    def _update_message(self, given: Json) -> None:
        at = self._indexes.get(text_in(given, "id") or "")
        if at is not None:
            self._fill(self.messages[at], given)

    def _fill(self, message: StoredMessage, given: dict[str, Any]) -> None:
        data = given.get("data")
        data = data if isinstance(data, dict) else {}
        role = data.get("role")
        message.role = str(role) if role in _ROLES else "unknown"
        message.role_raw = None if role in _ROLES else text_in(data, "role")
        if message.role == "tool":
            body: Json = {each: data[each] for each in data if each != "role"}
        elif message.role == "unknown":
            body = data
        else:
            body = data.get("content")
        apply_content(message, read_content(message.role, cells.encoded(body)))
        for call in codec.decode(message.tool_calls) or ():
            self._asking[call["id"]] = message.id

    def _add_usage(self, inside: dict[str, Any], event: StoredEvent) -> None:
        """Add usage to the answer before it, or to the session if there is none."""
        usage = usage_in(inside.get("usage"))
        if usage is None:
            return
        last = self.messages[-1] if self.messages else None
        if last is not None and last.role == "assistant" and last.usage is None:
            last.usage = cells.encoded(usage)
        else:
            self.usage.append(
                used(usage, created_at=event.created_at, model=event.model)
            )

    # Tool calls

    def _approve(self, inside: dict[str, Any], event: StoredEvent) -> None:
        request = text_in(inside, "request_id") or ""
        asked = inside.get("tool_call")
        if isinstance(asked, dict):
            call = self._open(asked, "pending", event)
            if call is not None:
                self._requests[request] = call
            return
        decided = self._requests.get(request)
        status = _DECISIONS.get((text_in(inside, "decision") or "").lower())
        if decided is not None and decided.status == "pending" and status is not None:
            decided.status = status
            if status == "denied":
                decided.completed_at = event.created_at

    def _start_call(self, inside: dict[str, Any], event: StoredEvent) -> None:
        call = self._latest.get(text_in(inside, "id") or "")
        if call is None or call.status not in ("pending", "approved"):
            call = self._open(inside, "executing", event)
        if call is None:
            return
        call.status, call.started_at = "executing", event.created_at
        if "parameters" in inside:
            call.arguments = cells.encoded(inside["parameters"])

    def _end_call(
        self, inside: dict[str, Any], event: StoredEvent, *, is_failed: bool
    ) -> None:
        call = self._latest.get(text_in(inside, "id") or "")
        if call is None or call.status in ("completed", "failed"):
            call = self._open(inside, "executing", event)
        if call is None:
            return
        call.completed_at = event.created_at
        if is_failed:
            _fail(call, inside.get("error"))
        else:
            _complete(call, inside.get("result"))

    def _open(
        self, given: dict[str, Any], status: str, event: StoredEvent
    ) -> StoredToolCall | None:
        call_id = text_in(given, "id")
        name = text_in(given, "name")
        if call_id is None or name is None:
            self.notes["domain_events: a tool call without id or name"] += 1
            return None
        call = StoredToolCall(
            id=self._ids.give(call_id),
            call_id=call_id,
            message_id=self._asking.get(call_id),
            name=name,
            arguments=cells.encoded(given["parameters"])
            if "parameters" in given
            else None,
            status=status,
            created_at=event.created_at,
        )
        self._latest[call_id] = call
        self.calls.append(call)
        return call

    # Compactions

    def _compact(self, record: Json, event: StoredEvent) -> None:
        at = self._indexes.get(text_in(record, "summary_message_id") or "")
        earlier = self.compactions[-1].summary_seq if self.compactions else 0
        if at is None or at + 1 <= earlier:
            self.notes["domain_events: a compaction without its summary"] += 1
            return
        number = len(self.compactions) + 1
        self.messages[at].summary_of = number
        created_at = cells.to_micros(record.get("created_at"), cells.SECOND)
        self.compactions.append(
            StoredCompaction(
                summary_seq=at + 1,
                boundary_seq=at + 1,
                archived=at - self._archived,
                model=model_of(record.get("model")),
                created_at=event.created_at if created_at is None else created_at,
            )
        )
        # The next compaction archives this summary as well.
        self._archived = at


def _fail(call: StoredToolCall, error: Json) -> None:
    # steer reports a denied call as failed, too.
    call.status = "denied" if call.status == "denied" else "failed"
    call.error = cells.encoded(error) if isinstance(error, str) else None


def _complete(call: StoredToolCall, result: Json) -> None:
    call.status = "completed"
    call.result = cells.encoded(result)
    if isinstance(result, dict) and len(result) == 1:
        call.kind = cells.name(next(iter(result))) or call.kind
    external = result_text(result)
    if external is not None:
        call.output = cells.encoded(external[1])


def ids_added(events: Sequence[StoredEvent]) -> set[str]:
    """Return the ids of the messages that events have added."""
    found: set[str] = set()
    for event in events:
        data = codec.decode(event.data)
        for variant in _ADDED:
            inside = data.get(variant) if isinstance(data, dict) else None
            if isinstance(inside, dict):
                found.add(text_in(inside.get("message"), "id") or "")
    return found
