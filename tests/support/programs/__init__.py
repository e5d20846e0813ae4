"""Programs that tests run in child processes, each by its path in ``PROGRAMS``."""

from pathlib import Path

PROGRAMS = Path(__file__).parent
