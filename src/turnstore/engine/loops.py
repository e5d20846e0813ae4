"""The event loop that a store runs on."""

from __future__ import annotations

import asyncio

from turnstore.errors import StoreError


def running_loop() -> asyncio.AbstractEventLoop:
    """:raises StoreError: no asyncio loop runs in this thread, as under trio."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError as error:
        raise StoreError(
            "SessionStore needs a running asyncio event loop: use SyncSessionStore "
            "without a loop, SharedSessionStore under trio or from several loops"
        ) from error
