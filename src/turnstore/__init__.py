"""turnstore: the storage engine that AI-agent runtimes import.

    from turnstore import SessionStore

    async with SessionStore("sqlite:///agent.db") as store:
        session = await store.sessions.create(agent_name="coder")
        await store.messages.append(session.id, "user", "List the failing tests")
        await store.events.append(session.id, "message.complete", {"text": "…"})

Rooms of a store: ``sessions``, ``messages``, ``tool_calls``, ``events``, ``usage``,
``metadata``, ``todos``, ``questions``, ``settings``, ``archive``, ``admin``; and
``store.turn`` makes writes to several of them one. ``SessionStore`` says what holds for
every call. Every error is a ``StoreError``; the tree is drawn in ``turnstore.errors``.
"""

import importlib
import typing

from msgspec import UNSET as UNSET

from turnstore.errors import AcquireTimeout as AcquireTimeout
from turnstore.errors import BackendError as BackendError
from turnstore.errors import BackendUnavailable as BackendUnavailable
from turnstore.errors import DatabaseBusy as DatabaseBusy
from turnstore.errors import DatabaseCorrupt as DatabaseCorrupt
from turnstore.errors import DiskFull as DiskFull
from turnstore.errors import InvalidArgument as InvalidArgument
from turnstore.errors import LeaseHeld as LeaseHeld
from turnstore.errors import LeaseLost as LeaseLost
from turnstore.errors import MessageExists as MessageExists
from turnstore.errors import MessageNotFound as MessageNotFound
from turnstore.errors import OutcomeUnknown as OutcomeUnknown
from turnstore.errors import Overloaded as Overloaded
from turnstore.errors import PayloadInvalid as PayloadInvalid
from turnstore.errors import PayloadTooLarge as PayloadTooLarge
from turnstore.errors import PendingToolCalls as PendingToolCalls
from turnstore.errors import QueueFull as QueueFull
from turnstore.errors import ReadOnlyStore as ReadOnlyStore
from turnstore.errors import SchemaTooNew as SchemaTooNew
from turnstore.errors import SchemaTooOld as SchemaTooOld
from turnstore.errors import SequenceConflict as SequenceConflict
from turnstore.errors import SessionExists as SessionExists
from turnstore.errors import SessionNotFound as SessionNotFound
from turnstore.errors import StatusConflict as StatusConflict
from turnstore.errors import StoreClosed as StoreClosed
from turnstore.errors import StoreError as StoreError
from turnstore.errors import ToolCallExists as ToolCallExists
from turnstore.errors import ToolCallNotFound as ToolCallNotFound
from turnstore.options import StoreOptions as StoreOptions
from turnstore.records import CompactedStatistics as CompactedStatistics
from turnstore.records import Compaction as Compaction
from turnstore.records import Event as Event
from turnstore.records import Json as Json
from turnstore.records import Message as Message
from turnstore.records import NewEvent as NewEvent
from turnstore.records import NewMessage as NewMessage
from turnstore.records import Page as Page
from turnstore.records import Question as Question
from turnstore.records import RecoveryReport as RecoveryReport
from turnstore.records import Role as Role
from turnstore.records import Session as Session
from turnstore.records import SessionFilter as SessionFilter
from turnstore.records import SessionState as SessionState
from turnstore.records import SessionStatus as SessionStatus
from turnstore.records import Setting as Setting
from turnstore.records import StoreStatistics as StoreStatistics
from turnstore.records import ToolCall as ToolCall
from turnstore.records import ToolCallStatus as ToolCallStatus
from turnstore.records import ToolPolicy as ToolPolicy
from turnstore.records import Usage as Usage
from turnstore.store import SessionStore as SessionStore
from turnstore.store.events.following.follower import Follower as Follower
from turnstore.store.sessions.leases.lease import Lease as Lease
from turnstore.store.turns import OpenTurn as OpenTurn

if typing.TYPE_CHECKING:
    from turnstore import transfer as transfer


def __getattr__(name: str) -> typing.Any:
    if name == "transfer":  # loaded when it is used
        return importlib.import_module("turnstore.transfer")
    raise AttributeError(f"module 'turnstore' has no attribute {name!r}")


__all__ = [
    "UNSET",
    "AcquireTimeout",
    "BackendError",
    "BackendUnavailable",
    "CompactedStatistics",
    "Compaction",
    "DatabaseBusy",
    "DatabaseCorrupt",
    "DiskFull",
    "Event",
    "Follower",
    "InvalidArgument",
    "Json",
    "Lease",
    "LeaseHeld",
    "LeaseLost",
    "Message",
    "MessageExists",
    "MessageNotFound",
    "NewEvent",
    "NewMessage",
    "OpenTurn",
    "OutcomeUnknown",
    "Overloaded",
    "Page",
    "PayloadInvalid",
    "PayloadTooLarge",
    "PendingToolCalls",
    "Question",
    "QueueFull",
    "ReadOnlyStore",
    "RecoveryReport",
    "Role",
    "SchemaTooNew",
    "SchemaTooOld",
    "SequenceConflict",
    "Session",
    "SessionExists",
    "SessionFilter",
    "SessionNotFound",
    "SessionState",
    "SessionStatus",
    "SessionStore",
    "Setting",
    "StatusConflict",
    "StoreClosed",
    "StoreError",
    "StoreOptions",
    "StoreStatistics",
    "ToolCall",
    "ToolCallExists",
    "ToolCallNotFound",
    "ToolCallStatus",
    "ToolPolicy",
    "Usage",
]
