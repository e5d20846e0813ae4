"""SQLSTATE as errors of this package, by code and not by text."""

from __future__ import annotations

import asyncpg
import pytest

from turnstore import errors
from turnstore.engine.postgres.connections import Connector
from turnstore.engine.postgres.errors import (
    NoHostWillDo,
    is_conflict,
    is_lost,
    is_unanswered,
    translate,
)
from turnstore.options import StoreOptions

STATES = {
    "08006": errors.BackendUnavailable,
    "23505": errors.DatabaseCorrupt,
    "25006": errors.ReadOnlyStore,
    "25P03": errors.BackendUnavailable,
    "28P01": errors.BackendUnavailable,
    "3D000": errors.BackendUnavailable,
    "40001": errors.DatabaseBusy,
    "40P01": errors.DatabaseBusy,
    "42501": errors.ReadOnlyStore,
    "42601": errors.BackendError,
    "53100": errors.DiskFull,
    "53300": errors.BackendUnavailable,
    "54000": errors.InvalidArgument,
    "55P03": errors.DatabaseBusy,
    "57014": errors.BackendUnavailable,
    "57P01": errors.BackendUnavailable,
    "XX000": errors.BackendError,
    "XX001": errors.DatabaseCorrupt,
}


class Driver(Exception):
    """An error as the server makes it; the text says nothing true."""

    def __init__(self, sqlstate: str, source: str | None = None) -> None:
        super().__init__("deadlock detected, disk full and duplicate key")
        self.sqlstate = sqlstate
        self.server_source_filename = source


@pytest.mark.parametrize("state", STATES)
def test_each_state(state: str) -> None:
    cause = Driver(state)
    translated = translate(cause)
    assert type(translated) is STATES[state]
    assert translated.__cause__ is cause
    assert state in str(translated)


def test_a_text_too_long_for_an_index_is_told_from_an_answer_too_long() -> None:
    indexed = translate(Driver("54000", "nbtutils.c"))
    assert type(indexed) is errors.InvalidArgument
    assert "index" in str(indexed)
    answer = translate(Driver("54000", "stringinfo.c"))
    assert type(answer) is errors.BackendError
    assert "index" not in str(answer)
    assert "1 GB" in str(answer)


@pytest.mark.parametrize("state", STATES)
def test_what_somebody_must_mend_first_is_not_retryable(state: str) -> None:
    translated = translate(Driver(state))
    assert isinstance(translated, errors.StoreError)
    lasting = state in ("28P01", "3D000")
    assert translated.retryable is (type(translated).retryable and not lasting)


@pytest.mark.parametrize("state", ["28P01", "3D000"])
def test_what_one_of_several_hosts_says_may_pass(state: str) -> None:
    cause = Driver(state)
    try:
        raise NoHostWillDo from cause
    except NoHostWillDo as error:
        translated = translate(error)
    assert isinstance(translated, errors.BackendUnavailable)
    assert translated.retryable and translated.__cause__ is cause


@pytest.mark.parametrize("state", STATES)
def test_a_wrapped_error_is_known_by_what_it_wraps(state: str) -> None:
    cause = Driver(state)
    try:
        raise RuntimeError("wrapped") from cause
    except RuntimeError as error:
        translated = translate(error)
    assert type(translated) is STATES[state]
    assert translated.__cause__ is cause


@pytest.mark.parametrize(
    "error",
    [
        Driver("57P01"),
        Driver("08003"),
        Driver("53300"),
        Driver("57P03"),
        OSError(),
        TimeoutError(),
        asyncpg.InterfaceError("closed"),
        asyncpg.InternalClientError("cannot switch to state 12"),
        asyncpg.ConnectionDoesNotExistError("gone"),
    ],
    ids=repr,
)
def test_a_lost_connection_has_many_faces(error: Exception) -> None:
    assert is_lost(error)
    assert type(translate(error)) is errors.BackendUnavailable


def test_what_is_no_error_of_the_database_stays_what_it_is() -> None:
    for error in (ValueError("x"), errors.SessionNotFound("s")):
        assert translate(error) is error
        assert not is_lost(error)


def test_a_server_that_takes_no_writes_is_left_for_another() -> None:
    assert is_lost(Driver("25006"))


def test_conflicts_can_be_tried_again() -> None:
    assert [each for each in STATES if is_conflict(Driver(each))] == ["40001", "40P01"]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://host/db?sslmodes=x",
        "postgresql://host/db?%",
        "postgresql://h/d?x",
        "postgresql://h:x/d",
    ],
)
def test_unknown_options_in_a_url_are_refused(url: str) -> None:
    with pytest.raises(errors.InvalidArgument):
        Connector(url, StoreOptions())


def test_what_the_server_answered_with_an_error_it_has_rolled_back() -> None:
    told = asyncpg.ConnectionDoesNotExistError("closed in the middle")
    told.__cause__ = asyncpg.AdminShutdownError("ended by an administrator")
    for answered in (Driver("57P01"), Driver("40001"), Driver("55P03"), told):
        assert not is_unanswered(answered)
    panic = asyncpg.ConnectionDoesNotExistError("closed in the middle")
    panic.__cause__ = asyncpg.PostgresIOError("its log could not be written")
    panic.__cause__.severity_en = "PANIC"
    for unanswered in (
        panic,
        ConnectionResetError(),
        TimeoutError(),
        Driver("08006"),
        asyncpg.ConnectionDoesNotExistError("closed in the middle"),
    ):
        assert is_unanswered(unanswered)
    assert not is_unanswered(ValueError("of this package's own making"))
