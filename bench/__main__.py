"""``python -m bench``, or ``python path/to/bench`` from anywhere."""

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
