"""The tree of errors: where each stands, what raises it, what it carries.

Left to a backend's own tests, which alone can bring them about: SchemaTooOld,
SchemaTooNew, BackendUnavailable, DatabaseBusy, DatabaseCorrupt, DiskFull and
OutcomeUnknown, and that the driver's error is kept as the cause.
"""

from __future__ import annotations

import asyncio
import math
import pickle
from typing import Final

import pytest

import turnstore
from tests.contract.calls import OF_A_SESSION, Call, outcomes_of
from tests.contract.ways import OpenStore
from turnstore import (
    AcquireTimeout,
    BackendError,
    InvalidArgument,
    MessageExists,
    MessageNotFound,
    NewEvent,
    NewMessage,
    Overloaded,
    PayloadInvalid,
    PayloadTooLarge,
    PendingToolCalls,
    QueueFull,
    ReadOnlyStore,
    SequenceConflict,
    Session,
    SessionExists,
    SessionNotFound,
    SessionStatus,
    SessionStore,
    StatusConflict,
    StoreError,
    ToolCallExists,
    ToolCallNotFound,
    ToolCallStatus,
)

BASES: Final[dict[str, list[type[BaseException]]]] = {
    "StoreError": [Exception],
    "StoreClosed": [StoreError],
    "SessionNotFound": [StoreError, LookupError],
    "MessageNotFound": [StoreError, LookupError],
    "ToolCallNotFound": [StoreError, LookupError],
    "SessionExists": [StoreError],
    "MessageExists": [StoreError],
    "ToolCallExists": [StoreError],
    "SequenceConflict": [StoreError],
    "StatusConflict": [StoreError],
    "PendingToolCalls": [StoreError],
    "LeaseHeld": [StoreError],
    "LeaseLost": [StoreError],
    "PayloadInvalid": [StoreError, ValueError],
    "PayloadTooLarge": [StoreError, ValueError],
    "InvalidArgument": [StoreError, ValueError],
    "Overloaded": [StoreError],
    "QueueFull": [Overloaded, TimeoutError],
    "AcquireTimeout": [Overloaded, TimeoutError],
    "SchemaTooOld": [StoreError],
    "SchemaTooNew": [StoreError],
    "BackendError": [StoreError],
    "BackendUnavailable": [BackendError],
    "DatabaseBusy": [BackendError],
    "DatabaseCorrupt": [BackendError],
    "DiskFull": [BackendError],
    "ReadOnlyStore": [BackendError],
    "OutcomeUnknown": [BackendError],
}
RETRYABLE: Final = [
    "Overloaded",
    "QueueFull",
    "AcquireTimeout",
    "BackendUnavailable",
    "DatabaseBusy",
]


# The tree


@pytest.mark.parametrize("name", BASES)
def test_an_error_stands_in_the_tree(name: str) -> None:
    assert list(getattr(turnstore, name).__bases__) == BASES[name]


def test_the_tree_has_no_other_errors() -> None:
    public = {name: getattr(turnstore, name) for name in turnstore.__all__}
    found = {
        name
        for name, kind in public.items()
        if isinstance(kind, type) and issubclass(kind, BaseException)
    }
    assert found == BASES.keys()


@pytest.mark.parametrize("name", BASES)
def test_what_can_be_tried_again_is_retryable(name: str) -> None:
    assert getattr(turnstore, name).retryable is (name in RETRYABLE)


@pytest.mark.parametrize("name", BASES)
def test_a_docstring_says_when_it_is_raised(name: str) -> None:
    assert vars(getattr(turnstore, name))["__doc__"]


# What each method can raise, as shown by the tests, is named in its docstring or in
# that of the method which its docstring refers to.
RAISED: Final[dict[str, str]] = {
    "sessions.create": "SessionExists PayloadInvalid PayloadTooLarge InvalidArgument",
    "sessions.get": "InvalidArgument",
    "sessions.load": "InvalidArgument",
    "sessions.update": "SessionNotFound StatusConflict MessageNotFound PayloadInvalid "
    "PayloadTooLarge InvalidArgument",
    "sessions.list": "InvalidArgument",
    "sessions.count": "InvalidArgument",
    "sessions.delete": "InvalidArgument",
    "sessions.lease": "SessionNotFound LeaseHeld InvalidArgument",
    "messages.append": "SessionNotFound MessageExists MessageNotFound PayloadInvalid "
    "PayloadTooLarge InvalidArgument",
    "messages.append_many": "SessionNotFound MessageExists MessageNotFound "
    "PayloadInvalid PayloadTooLarge InvalidArgument",
    "messages.list": "SessionNotFound InvalidArgument",
    "messages.branch": "SessionNotFound MessageNotFound InvalidArgument",
    "messages.set_active": "SessionNotFound MessageNotFound InvalidArgument",
    "messages.last": "SessionNotFound InvalidArgument",
    "messages.recent_user": "InvalidArgument",
    "tool_calls.create": "SessionNotFound MessageNotFound ToolCallExists "
    "PayloadInvalid PayloadTooLarge InvalidArgument",
    "tool_calls.update": "SessionNotFound ToolCallNotFound StatusConflict "
    "PayloadInvalid PayloadTooLarge InvalidArgument",
    "tool_calls.get": "InvalidArgument",
    "tool_calls.find": "SessionNotFound InvalidArgument",
    "tool_calls.list": "SessionNotFound InvalidArgument",
    "tool_calls.pending": "SessionNotFound InvalidArgument",
    "tool_calls.has_pending": "SessionNotFound InvalidArgument",
    "tool_calls.interrupt": "SessionNotFound InvalidArgument",
    "events.append": "SessionNotFound SequenceConflict PayloadInvalid PayloadTooLarge "
    "InvalidArgument",
    "events.append_many": "SessionNotFound SequenceConflict PayloadInvalid "
    "PayloadTooLarge InvalidArgument",
    "events.list": "SessionNotFound InvalidArgument",
    "events.stream": "SessionNotFound InvalidArgument",
    "events.head": "SessionNotFound InvalidArgument",
    "events.delete_before": "SessionNotFound InvalidArgument",
}


@pytest.mark.parametrize("name", RAISED)
def test_docstrings_name_the_errors(name: str) -> None:
    room, method = name.split(".")
    kind = type(getattr(SessionStore("sqlite://"), room))
    # What holds for all methods of a room, its own docstring says once.
    texts = [kind.__doc__, getattr(kind, method).__doc__]
    text = " ".join(" ".join(each or "" for each in texts).split())
    if "therwise as ``append``" in text:
        text += kind.append.__doc__
    assert [each for each in RAISED[name].split() if each not in text] == []


# What is not there


async def test_session_not_found(store: SessionStore) -> None:
    outcomes = await outcomes_of(OF_A_SESSION, store)
    found = {name: type(each) for name, each in outcomes.items()}
    assert found == dict.fromkeys(OF_A_SESSION, SessionNotFound)
    named = {getattr(each, "session_id", None) for each in outcomes.values()}
    assert named == {"gone"}
    assert await store.sessions.count() == 0


async def test_get_and_load_of_an_unknown_session_give_none(
    store: SessionStore,
) -> None:
    assert await store.sessions.get("gone") is None
    assert await store.sessions.load("gone") is None
    assert await store.tool_calls.get("gone", "c") is None


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.messages.append("s", "user", parent_id="gone"),
        lambda store: store.messages.branch("s", "gone"),
        lambda store: store.messages.set_active("s", "gone"),
        lambda store: store.sessions.update("s", active_message_id="gone"),
        lambda store: store.tool_calls.create("s", "ls", {}, message_id="gone"),
    ],
    ids=["parent_id", "branch", "set_active", "active_message_id", "message_id"],
)
async def test_message_not_found(
    store: SessionStore, session: Session, call: Call
) -> None:
    with pytest.raises(MessageNotFound) as caught:
        await call(store)
    assert (caught.value.session_id, caught.value.message_id) == ("s", "gone")
    assert await store.sessions.get("s") == session


async def test_tool_call_not_found(store: SessionStore, session: Session) -> None:
    with pytest.raises(ToolCallNotFound) as caught:
        await store.tool_calls.update("s", "gone", status="completed")
    assert (caught.value.session_id, caught.value.tool_call_id) == ("s", "gone")


# What is there already


async def test_session_exists(store: SessionStore, session: Session) -> None:
    with pytest.raises(SessionExists) as caught:
        await store.sessions.create(id="s", title="other")
    assert caught.value.session_id == "s"
    assert await store.sessions.get("s") == session


async def test_message_exists(store: SessionStore, session: Session) -> None:
    message = await store.messages.append("s", "user", "first", id="m")
    with pytest.raises(MessageExists) as caught:
        await store.messages.append("s", "user", "second", id="m")
    assert (caught.value.session_id, caught.value.message_id) == ("s", "m")
    assert await store.messages.list("s") == [message]


async def test_tool_call_exists(store: SessionStore, session: Session) -> None:
    call = await store.tool_calls.create("s", "ls", {}, id="c")
    with pytest.raises(ToolCallExists) as caught:
        await store.tool_calls.create("s", "rm", {}, id="c")
    assert (caught.value.session_id, caught.value.tool_call_id) == ("s", "c")
    assert await store.tool_calls.list("s") == [call]


# Conflicts


async def test_a_sequence_conflict_carries_the_actual_head(
    store: SessionStore, session: Session
) -> None:
    await store.events.append_many("s", [NewEvent(type="e")] * 2)
    with pytest.raises(SequenceConflict) as caught:
        await store.events.append("s", "e", expected_head=1)
    assert (caught.value.session_id, caught.value.actual_head) == ("s", 2)
    assert await store.events.head("s") == 2


async def test_a_status_conflict_carries_the_actual_status_of_a_session(
    store: SessionStore, session: Session
) -> None:
    with pytest.raises(StatusConflict) as caught:
        await store.sessions.update("s", title="t", expected_status="running")
    assert caught.value.session_id == "s"
    assert caught.value.actual_status is SessionStatus.IDLE
    assert await store.sessions.get("s") == session


async def test_a_status_conflict_carries_the_actual_status_of_a_tool_call(
    store: SessionStore, session: Session
) -> None:
    call = await store.tool_calls.create("s", "ls", {}, status="denied")
    with pytest.raises(StatusConflict) as caught:
        await store.tool_calls.update("s", call.id, status="executing")
    assert caught.value.session_id == "s"
    assert caught.value.actual_status is ToolCallStatus.DENIED
    assert await store.tool_calls.list("s") == [call]


async def test_pending_tool_calls_carries_the_open_calls(
    store: SessionStore, session: Session
) -> None:
    await store.messages.append_many("s", [NewMessage(role="user")] * 9)
    await store.tool_calls.create("s", "ls", {}, id="c")
    with pytest.raises(PendingToolCalls) as caught:
        await store.messages.compact("s", "so far")
    assert (caught.value.session_id, caught.value.open_calls) == ("s", ["c"])
    assert len(await store.messages.list("s", include_compacted=False)) == 9


# What is given


async def test_payload_invalid(store: SessionStore, session: Session) -> None:
    with pytest.raises(PayloadInvalid, match="nan"):
        await store.events.append("s", "e", {"a": math.nan})
    assert await store.events.head("s") == 0


async def test_payload_too_large_carries_both_sizes(open_store: OpenStore) -> None:
    store = await open_store(payload_bytes_max=100)
    await store.sessions.create(id="s")
    with pytest.raises(PayloadTooLarge) as caught:
        await store.events.append("s", "e", "x" * 99)
    assert (caught.value.size_bytes, caught.value.bytes_max) == (101, 100)
    assert await store.events.append("s", "e", "x" * 98) == 1


async def test_invalid_argument(store: SessionStore, session: Session) -> None:
    with pytest.raises(InvalidArgument, match="limit"):
        await store.sessions.list(limit=0)
    with pytest.raises(InvalidArgument, match="expected_head"):
        await store.events.append("s", "e", expected_head=-1)
    assert await store.events.head("s") == 0


# Too much at once


async def test_queue_full_writes_nothing(open_store: OpenStore) -> None:
    store = await open_store(queue_commands_max=1, queue_timeout_s=0)
    await store.sessions.create(id="s")
    outcomes = await asyncio.gather(
        *(store.events.append("s", "e") for _ in range(50)), return_exceptions=True
    )
    refused = [each for each in outcomes if isinstance(each, QueueFull)]
    seqs = [each for each in outcomes if isinstance(each, int)]
    assert refused and refused[0].retryable
    assert len(refused) + len(seqs) == 50
    assert await store.events.head("s") == len(seqs)


async def test_callers_wait_for_room_in_a_full_queue(open_store: OpenStore) -> None:
    store = await open_store(queue_commands_max=1)
    await store.sessions.create(id="s")
    appends = (store.events.append("s", "e") for _ in range(50))
    assert await asyncio.gather(*appends) == [*range(1, 51)]


async def test_acquire_timeout(open_store: OpenStore) -> None:
    store = await open_store(readers=1, acquire_timeout_s=0)
    await store.sessions.create(id="s")
    outcomes = await asyncio.gather(
        *(store.sessions.load("s") for _ in range(50)), return_exceptions=True
    )
    refused = [each for each in outcomes if isinstance(each, AcquireTimeout)]
    assert refused and refused[0].retryable
    assert await store.sessions.load("s") == outcomes[0]


async def test_an_error_survives_pickling(
    store: SessionStore, session: Session
) -> None:
    with pytest.raises(SequenceConflict) as caught:
        await store.events.append("s", "e", expected_head=1)
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is SequenceConflict
    assert (str(again), again.actual_head) == (str(caught.value), 0)


# Several stores on one database


async def test_a_read_only_store_reads_and_does_not_write(
    store: SessionStore, session: Session, open_shared: OpenStore
) -> None:
    reading = await open_shared(read_only=True)
    assert await reading.sessions.get("s") == session
    for call in (
        reading.sessions.create(),
        reading.messages.append("s", "user"),
        reading.events.append("s", "e"),
        reading.tool_calls.create("s", "ls", {}),
    ):
        with pytest.raises(ReadOnlyStore):
            await call
    assert await store.sessions.load("s") == await reading.sessions.load("s")
    assert await store.sessions.get("s") == session
