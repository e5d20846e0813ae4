"""The gate against SQLite versions with the WAL-reset bug."""

from __future__ import annotations

import sqlite3

import pytest

from turnstore.engine.sqlite.library import is_fixed, library


@pytest.mark.parametrize(
    ("version", "fixed"),
    [
        ((3, 6, 23), True),
        ((3, 7, 0), False),
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 44, 7), True),
        ((3, 45, 0), False),
        ((3, 45, 3), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 50, 99), True),
        ((3, 51, 0), False),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 52, 0), True),
        ((3, 53, 4), True),
        ((4, 0, 0), True),
    ],
)
def test_versions(version: tuple[int, int, int], fixed: bool) -> None:
    assert is_fixed(version) is fixed


def test_the_choice_is_the_version_really_linked() -> None:
    chosen = library()
    connection = chosen.module.connect(":memory:")
    [linked] = connection.execute("SELECT sqlite_version()").fetchone()
    connection.close()
    assert linked in chosen.name
    assert chosen.is_fixed is is_fixed(tuple(map(int, linked.split("."))))
    assert library() is chosen


def test_the_standard_library_is_used_where_it_is_fixed() -> None:
    if is_fixed(sqlite3.sqlite_version_info):
        assert library().module is sqlite3
    else:
        assert library().module is not sqlite3 or not library().is_fixed
