"""The error tree, as it is documented."""

from __future__ import annotations

import inspect
import pickle
from datetime import UTC, datetime

import pytest

from turnstore import errors
from turnstore.engine.commands import is_fatal

BASES: dict[str, tuple[type[BaseException], ...]] = {
    "StoreError": (Exception,),
    "StoreClosed": (errors.StoreError,),
    "SessionNotFound": (errors.StoreError, LookupError),
    "MessageNotFound": (errors.StoreError, LookupError),
    "ToolCallNotFound": (errors.StoreError, LookupError),
    "SessionExists": (errors.StoreError,),
    "MessageExists": (errors.StoreError,),
    "ToolCallExists": (errors.StoreError,),
    "SequenceConflict": (errors.StoreError,),
    "StatusConflict": (errors.StoreError,),
    "PendingToolCalls": (errors.StoreError,),
    "LeaseHeld": (errors.StoreError,),
    "LeaseLost": (errors.StoreError,),
    "PayloadInvalid": (errors.StoreError, ValueError),
    "PayloadTooLarge": (errors.StoreError, ValueError),
    "InvalidArgument": (errors.StoreError, ValueError),
    "Overloaded": (errors.StoreError,),
    "QueueFull": (errors.Overloaded, TimeoutError),
    "AcquireTimeout": (errors.Overloaded, TimeoutError),
    "SchemaTooOld": (errors.StoreError,),
    "SchemaTooNew": (errors.StoreError,),
    "BackendError": (errors.StoreError,),
    "BackendUnavailable": (errors.BackendError,),
    "DatabaseBusy": (errors.BackendError,),
    "DatabaseCorrupt": (errors.BackendError,),
    "DiskFull": (errors.BackendError,),
    "ReadOnlyStore": (errors.BackendError,),
    "OutcomeUnknown": (errors.BackendError,),
}
RETRYABLE = {
    "Overloaded",
    "QueueFull",
    "AcquireTimeout",
    "BackendUnavailable",
    "DatabaseBusy",
}
CLASSES = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, errors.StoreError)
}


def test_every_class_is_listed() -> None:
    assert CLASSES.keys() == BASES.keys()


@pytest.mark.parametrize("name", BASES)
def test_bases(name: str) -> None:
    assert CLASSES[name].__bases__ == BASES[name]


@pytest.mark.parametrize("name", BASES)
def test_retryable(name: str) -> None:
    assert CLASSES[name].retryable is (name in RETRYABLE)


@pytest.mark.parametrize("name", BASES)
def test_each_says_what_is_true_afterwards(name: str) -> None:
    assert CLASSES[name].__dict__["__doc__"]


def test_conflicts_carry_the_actual_state() -> None:
    sequence = errors.SequenceConflict("s", 3, 5)
    assert (sequence.session_id, sequence.expected_head) == ("s", 3)
    assert sequence.actual_head == 5
    assert "5" in str(sequence) and "3" in str(sequence)
    status = errors.StatusConflict("s", "completed", "is completed")
    assert (status.session_id, status.actual_status) == ("s", "completed")
    pending = errors.PendingToolCalls("s", ("a", "b"))
    assert (pending.session_id, pending.open_calls) == ("s", ["a", "b"])
    at = datetime(2026, 1, 2, tzinfo=UTC)
    held = errors.LeaseHeld("s", "someone", at)
    assert (held.session_id, held.owner, held.expires_at) == ("s", "someone", at)
    lost = errors.LeaseLost("s", 3, "someone", at)
    assert (lost.session_id, lost.token) == ("s", 3)
    assert (lost.owner, lost.expires_at) == ("someone", at)
    assert "nobody" in str(errors.LeaseLost("s", 3))


def test_lookups_name_what_was_looked_up() -> None:
    assert errors.SessionNotFound("s").session_id == "s"
    message = errors.MessageNotFound("s", "m")
    assert (message.session_id, message.message_id) == ("s", "m")
    call = errors.ToolCallNotFound("s", "t")
    assert (call.session_id, call.tool_call_id) == ("s", "t")
    # LookupError alone would print the repr of its argument, as KeyError does.
    assert str(errors.SessionNotFound("s")) == "no session 's'"


@pytest.mark.parametrize("name", BASES)
def test_a_failure_of_the_database_meets_the_whole_batch(name: str) -> None:
    error = CLASSES[name].__new__(CLASSES[name])
    whole = issubclass(CLASSES[name], errors.BackendError) and name != "BackendError"
    assert is_fatal(error) is whole


def test_an_error_survives_pickling() -> None:
    error = errors.SequenceConflict("s", 3, 5)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.actual_head) == (
        errors.SequenceConflict,
        str(error),
        5,
    )
