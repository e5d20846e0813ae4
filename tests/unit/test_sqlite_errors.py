"""SQLite's result codes as errors of this package, by code and not by text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from turnstore import errors
from turnstore.engine.sqlite.errors import is_busy, is_io_error, result_code, translate
from turnstore.engine.sqlite.library import library


class Driver(Exception):
    """An error as the driver makes it; the text says nothing true."""

    def __init__(self, code: int) -> None:
        super().__init__("database is locked, full and malformed")
        self.sqlite_errorcode = code
        self.sqlite_errorname = f"SQLITE_{code}"


CODES = {
    3: errors.BackendUnavailable,
    5: errors.DatabaseBusy,
    6: errors.DatabaseBusy,
    7: errors.BackendUnavailable,
    8: errors.ReadOnlyStore,
    9: errors.BackendUnavailable,
    10: errors.BackendUnavailable,
    11: errors.DatabaseCorrupt,
    13: errors.DiskFull,
    14: errors.BackendUnavailable,
    15: errors.DatabaseBusy,
    23: errors.BackendUnavailable,
    26: errors.DatabaseCorrupt,
    1: errors.BackendError,
    19: errors.DatabaseCorrupt,
    20: errors.BackendError,
}


@pytest.mark.parametrize("extension", [0, 1, 2, 3, 25])
@pytest.mark.parametrize("code", CODES)
def test_each_code(code: int, extension: int) -> None:
    driver = Driver(code | extension << 8)
    translated = translate(driver)
    assert type(translated) is CODES[code]
    assert translated.__cause__ is driver
    assert f"SQLITE_{driver.sqlite_errorcode}" in str(translated)


def test_what_is_no_database_error_stays_as_it_is() -> None:
    for error in (ValueError("x"), errors.SessionNotFound("s"), errors.DiskFull()):
        assert translate(error) is error
        assert result_code(error) is None


@pytest.mark.parametrize("code", CODES)
def test_busy_and_io_errors(code: int) -> None:
    assert is_busy(Driver(code)) is (code in (5, 6, 15))
    assert is_busy(Driver(code | 2 << 8)) is (code in (5, 6, 15))
    assert is_io_error(Driver(code | 3 << 8)) is (code == 10)


def test_no_error_is_no_io_error() -> None:
    assert not is_io_error(None)
    assert not is_busy(ValueError())


def failing(connection: Any, statement: str) -> Exception:
    with pytest.raises(Exception) as caught:
        connection.execute(statement).fetchall()
    return translate(caught.value)


def test_garbage(tmp_path: Path, connect: Callable[[Path], Any]) -> None:
    path = tmp_path / "garbage"
    path.write_bytes(b"no database" * 1_000)
    error = failing(connect(path), "SELECT * FROM sqlite_schema")
    assert type(error) is errors.DatabaseCorrupt


def test_damage(tmp_path: Path, connect: Callable[[Path], Any]) -> None:
    path = tmp_path / "damaged"
    connection = connect(path)
    connection.execute("CREATE TABLE t(x)")
    connection.execute(
        "INSERT INTO t WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL "
        "SELECT i + 1 FROM n WHERE i < 200) SELECT hex(randomblob(100)) FROM n"
    )
    connection.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    error = failing(connect(path), "SELECT sum(length(x)) FROM t")
    assert type(error) is errors.DatabaseCorrupt


def test_locked(tmp_path: Path, connect: Callable[[Path], Any]) -> None:
    path = tmp_path / "locked"
    first, second = connect(path), connect(path)
    first.execute("BEGIN IMMEDIATE")
    error = failing(second, "BEGIN IMMEDIATE")
    assert type(error) is errors.DatabaseBusy
    assert error.retryable


def test_read_only(connect: Callable[[Path], Any]) -> None:
    connection = connect(Path(":memory:"))
    connection.execute("PRAGMA query_only = 1")
    error = failing(connection, "CREATE TABLE t(x)")
    assert type(error) is errors.ReadOnlyStore


def test_full(tmp_path: Path, connect: Callable[[Path], Any]) -> None:
    connection = connect(tmp_path / "full")
    connection.execute("PRAGMA max_page_count = 2")
    connection.execute("CREATE TABLE t(x)")
    error = failing(connection, "INSERT INTO t VALUES (zeroblob(100000))")
    assert type(error) is errors.DiskFull


def test_missing(tmp_path: Path, connect: Callable[[Path], Any]) -> None:
    with pytest.raises(Exception) as caught:
        connect(tmp_path / "no" / "such" / "folder")
    assert type(translate(caught.value)) is errors.BackendUnavailable


def test_an_error_wrapped_by_sqlalchemy_has_the_drivers_as_its_cause() -> None:
    engine = create_engine("sqlite://", module=library().module)
    with engine.connect() as connection, pytest.raises(Exception) as caught:
        connection.exec_driver_sql("PRAGMA query_only = 1")
        connection.exec_driver_sql("CREATE TABLE t(x)")
    engine.dispose()
    translated = translate(caught.value)
    assert type(translated) is errors.ReadOnlyStore
    assert isinstance(translated.__cause__, library().module.Error)
