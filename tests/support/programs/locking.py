"""A child process: holds the write lock of the file at argv[1] until a line comes."""

from __future__ import annotations

import sys

from turnstore.engine.sqlite.library import library

connection = library().module.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
connection.close()
