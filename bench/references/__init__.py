"""What turnstore is compared with, and the names that tables and pictures give it.

``raw_sqlite`` and ``raw_postgres`` use the driver alone. ``plain`` and
``plain_listing`` are what an application writes itself with SQLAlchemy.
"""

from typing import Final

RAW_SQLITE: Final = "raw SQLite, the ceiling"
RAW_SQLITE_ON_A_THREAD: Final = "raw SQLite, on a thread"
RAW_POSTGRES: Final = "raw asyncpg, one connection"
PLAIN: Final = "plain SQLAlchemy, one transaction per call"
PLAIN_LISTING: Final = "plain query, joined, counted and grouped"
