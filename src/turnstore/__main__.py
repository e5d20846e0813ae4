"""The ``turnstore`` command; ``python -m turnstore`` is the same."""

from __future__ import annotations

import sys


def main() -> None:
    try:
        import click  # noqa: F401
        import rich  # noqa: F401
    except ImportError:
        sys.stderr.write(
            "turnstore's command line needs: pip install 'turnstore[cli]'\n"
        )
        sys.exit(2)
    from turnstore.cli import app

    app(prog_name="turnstore")


if __name__ == "__main__":
    main()
