"""What goes in from any file comes out again, cell by cell; tests/postgres has the
same for PostgreSQL."""

from __future__ import annotations

from tests.support.files.every_file import EveryFile


class TestSqlite(EveryFile):
    """With a store in a file."""
