"""What callers get and give: immutable records, compared by value.

Those that come by the thousand are not looked at by the garbage collector, a fifth of
the time of reading them: no cycle leads through a record, unless a caller puts it into
its own data: such a cycle is never freed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from enum import EnumType, StrEnum
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

import msgspec

from turnstore.values import shown

Json: TypeAlias = Any
"""A JSON value: None, bool, int, float, str, lists and dicts of them. Tuples are
taken as lists."""

T = TypeVar("T")


class _Readable(EnumType):
    """Calling the enumeration is strict, though its ``_missing_`` is not."""

    def __call__(cls, value: Any, *args: Any, **kwargs: Any) -> Any:
        made = super().__call__(value, *args, **kwargs)
        if made == "unknown" and value != "unknown":
            raise ValueError(f"{shown(value)} is not a valid {cls.__qualname__}")
        return made


class _Lenient(StrEnum, metaclass=_Readable):
    """Text that a later release or an import left behind is decoded as UNKNOWN.

    Only reading is lenient: what a caller gives is checked against the members, and
    UNKNOWN is refused.
    """

    @classmethod
    def _missing_(cls, value: object) -> _Lenient:
        # For the decoder of rows, which calls nothing else of an enumeration.
        return cls("unknown")


class SessionStatus(_Lenient):
    """What a session is doing. Any may follow any other; ``COMPLETED``, ``FAILED`` and
    ``INTERRUPTED`` end it. ``UNKNOWN`` is only read."""

    IDLE = "idle"
    RUNNING = "running"
    WAITING_FOR_USER_INPUT = "waiting_for_user_input"
    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    UNKNOWN = "unknown"


class Role(_Lenient):
    """Who speaks in a message. ``DEVELOPER`` is OpenAI's name for the role of system
    messages to newer models. ``UNKNOWN`` is only read."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"
    UNKNOWN = "unknown"


class ToolCallStatus(_Lenient):
    """How far a tool call got. ``PENDING``, ``APPROVED`` and ``EXECUTING`` are open,
    ``COMPLETED``, ``FAILED`` and ``DENIED`` final. ``UNKNOWN`` is only read."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXECUTING = "executing"
    COMPLETED = "completed"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Usage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Token counts of model calls, and how many calls. Adds with ``+``.

    Each is 0 to 10**12 where it is written. ``api_calls`` 0 counts as one call.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cache_read_tokens: int = 0
    cache_creation_tokens: int = 0
    thinking_tokens: int = 0
    api_calls: int = 0

    def __add__(self, other: Usage) -> Usage:
        if not isinstance(other, Usage):
            return NotImplemented
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cache_read_tokens=self.cache_read_tokens + other.cache_read_tokens,
            cache_creation_tokens=(
                self.cache_creation_tokens + other.cache_creation_tokens
            ),
            thinking_tokens=self.thinking_tokens + other.thinking_tokens,
            api_calls=self.api_calls + other.api_calls,
        )


class ToolPolicy(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Which tools may run without asking.

    ``tools`` are those approved beforehand; ``ask_for_others`` says what ``mixed``
    does with the rest.
    """

    mode: Literal["always_ask", "pre_approved", "mixed"] = "always_ask"
    tools: frozenset[str] = frozenset()
    ask_for_others: bool = True


class Session(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One agent conversation or run.

    ``message_head`` and ``event_head`` are the last sequence numbers, 0 when none.
    ``message_count`` counts every message kept, compacted ones too.
    ``pending_tool_calls`` counts open ones: pending, approved or executing.
    ``last_model``: of what was written last and names one. ``usage``: totals
    of its ledger. ``updated_at``: its last write, apart from deleting events and
    purging. ``status_raw``: the text of an unknown status, else None.
    """

    id: str
    user_id: str | None = None
    agent_name: str = ""
    project_root: str | None = None
    title: str | None = None
    provider: str | None = None
    model: str | None = None
    system_prompt: str | None = None
    user_prompt: str | None = None
    status: SessionStatus = SessionStatus.IDLE
    status_raw: str | None = None
    config: Json = None
    tool_policy: ToolPolicy | None = None
    metadata: dict[str, str] = {}
    parent_session_id: str | None = None
    active_message_id: str | None = None
    result: Json = None
    error: str | None = None
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None = None
    message_count: int = 0
    message_head: int = 0
    event_head: int = 0
    tool_call_count: int = 0
    pending_tool_calls: int = 0
    last_model: str | None = None
    usage: Usage = Usage()


class Message(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One message. ``tool_calls`` is in chat format: a list of objects with ``id``.

    ``seq`` counts from 1 in its session. ``compacted_at``: when a compaction archived
    it. ``is_summary``: a compaction wrote it. ``role_raw``: the text of an unknown
    role, else None.
    """

    id: str
    session_id: str
    seq: int
    role: Role
    role_raw: str | None = None
    content: Json = None
    tool_calls: Json = None
    tool_call_id: str | None = None
    name: str | None = None
    agent_name: str | None = None
    model: str | None = None
    parent_id: str | None = None
    usage: Usage | None = None
    created_at: datetime
    compacted_at: datetime | None = None
    is_summary: bool = False


class ToolCall(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One tool call. ``call_id`` is the model provider's id: not unique.

    ``started_at``: when it came to be executing, ``completed_at``: when its status
    became final. ``status_raw``: the text of an unknown status, else None.
    """

    id: str
    call_id: str | None = None
    session_id: str
    message_id: str | None = None
    name: str
    arguments: Json = None
    kind: str = "external"
    status: ToolCallStatus = ToolCallStatus.PENDING
    status_raw: str | None = None
    output: str | None = None
    result: Json = None
    error: str | None = None
    error_details: Json = None
    execution_time_ms: int | None = None
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One fact of a session's log, numbered by ``seq`` from 1."""

    session_id: str
    seq: int
    type: str
    data: Json = None
    model: str | None = None
    turn_id: str | None = None
    created_at: datetime


class NewEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event to append; the fields are arguments of ``events.append``."""

    type: str
    data: Json = None
    model: str | None = None
    turn_id: str | None = None
    created_at: datetime | None = None


class NewMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message to append; the fields are arguments of ``messages.append``."""

    role: Role | str
    content: Json = None
    id: str | None = None
    tool_calls: Json = None
    tool_call_id: str | None = None
    name: str | None = None
    usage: Usage | None = None
    agent_name: str | None = None
    model: str | None = None
    parent_id: str | None = None
    created_at: datetime | None = None


class SessionState(msgspec.Struct, frozen=True, kw_only=True):
    """A session with its messages by seq and its tool calls, oldest first."""

    session: Session
    messages: list[Message]
    tool_calls: list[ToolCall]


class Compaction(msgspec.Struct, frozen=True, kw_only=True):
    """What a compaction did.

    ``archived``: messages archived, an earlier summary among them; 0 when there was
    nothing to archive and nothing was written. ``boundary_seq``: the first message
    that stayed; beyond the last one when none did.
    """

    archived: int
    summary_message: Message | None
    boundary_seq: int
    created_at: datetime | None


class CompactedStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Archived messages. ``size_bytes``: of their content and tool calls as JSON.
    ``oldest``: when the first of them was archived."""

    message_count: int
    session_count: int
    size_bytes: int
    oldest: datetime | None


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A question to the user. ``answer`` None: not answered yet.

    ``tool_call_id``: the tool call that asks.
    """

    question_id: str
    question: str
    description: str | None = None
    response_type: str = "text"
    default: Json = None
    options: list[Json] | None = None
    answer: Json = None
    tool_call_id: str | None = None
    created_at: datetime | None = None
    answered_at: datetime | None = None


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting that the user gives. ``value`` None: not given yet.

    A ``secret`` value is left out of ``repr``, and with it of logs and tracebacks.
    """

    setting_key: str
    setting_name: str
    description: str | None = None
    setting_type: str = "text"
    value: Json = None
    secret: bool = False
    tool_call_id: str | None = None
    created_at: datetime | None = None
    answered_at: datetime | None = None

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({fields})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        if self.secret and self.value is not None:
            fields["value"] = _HIDDEN
        return list(fields.items())


class _Hidden:
    def __repr__(self) -> str:
        return "<secret>"


_HIDDEN: Final = _Hidden()


class RecoveryReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a crashed runtime had left open, as it is now that it is closed."""

    sessions: list[Session]
    tool_calls: list[ToolCall]


class SessionFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which sessions to list or count; what is None does not filter, the rest is ANDed.

    ``metadata``: every pair equal. ``metadata_keys``: every key present; of both
    together at most 100. ``status``: one or several. Bounds of times and counts are
    inclusive. ``title_contains`` ignores ASCII case. No ``ids`` or statuses, ``[]``,
    match nothing.
    """

    ids: Collection[str] | None = None
    user_id: str | None = None
    agent_name: str | None = None
    project_root: str | None = None
    provider: str | None = None
    model: str | None = None
    last_model: str | None = None
    status: SessionStatus | str | Collection[SessionStatus | str] | None = None
    parent_session_id: str | None = None
    metadata: Mapping[str, str] | None = None
    metadata_keys: Collection[str] | None = None
    title_contains: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    updated_after: datetime | None = None
    updated_before: datetime | None = None
    has_pending_tool_calls: bool | None = None
    message_count_min: int | None = None
    message_count_max: int | None = None


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One page; ``next_cursor`` continues after it and is None on the last one."""

    items: Sequence[T]
    next_cursor: str | None = None


class StoreStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters since ``open``. Percentiles are over the last 1,024 batches, on
    PostgreSQL those of each lane.

    A *command* is what one call writes, a *batch* the commands of a commit.
    ``queue_depth``: commands waiting now. ``commit_ms``: from taking a batch to its
    outcome. ``reader_waits``: reads that had to wait for a connection. ``wal_bytes``:
    size of the write-ahead log now, 0 where there is none. ``library``: the database
    library in use, with its version.
    """

    library: str
    queue_depth: int
    batches: int
    commands: int
    batch_size_p50: int
    batch_size_p99: int
    commit_ms_p50: float
    commit_ms_p99: float
    reader_waits: int
    wal_bytes: int
