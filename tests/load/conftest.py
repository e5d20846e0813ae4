"""Child processes, as in tests/concurrency."""

from __future__ import annotations

from tests.concurrency.conftest import start as start
