"""A pytest plugin for programs that use turnstore: fixtures with a fresh store.

pytest loads it once turnstore is installed; ``-p no:turnstore`` leaves it out. A test
asks for ``turnstore`` and gets an open, empty store, which is closed when the test
ends::

    @pytest.mark.anyio
    async def test_it_keeps_what_the_user_said(turnstore):
        session = await turnstore.sessions.create()
        await turnstore.messages.append(session.id, "user", "Hello")
        assert (await turnstore.sessions.get(session.id)).message_count == 1

The store lives in memory. A module or a ``conftest.py`` that overrides
``turnstore_url`` has its stores elsewhere, on a file for instance, which further stores
may open::

    @pytest.fixture
    def turnstore_url(tmp_path):
        return tmp_path / "agents.db"

It works with anyio's plugin (tests marked ``anyio``) and with pytest-asyncio in each of
its modes. The store belongs to the event loop of its test.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from turnstore.options import StoreOptions
from turnstore.store import SessionStore

__all__ = ["turnstore", "turnstore_options", "turnstore_url"]


@pytest.fixture
def turnstore_url() -> str | Path:
    """Where the store of ``turnstore`` is: in memory. Override it for another place.

    What it names should be new for each test, as ``tmp_path`` is: nothing is emptied.
    """
    return "sqlite://"


@pytest.fixture
def turnstore_options() -> StoreOptions:
    """The options of ``turnstore``: the defaults. Override it for others."""
    return StoreOptions()


@pytest.fixture
def turnstore(request: pytest.FixtureRequest) -> SessionStore:
    """An open store at ``turnstore_url``, closed when the test ends.

    Opening one in memory takes about 20 ms.
    """
    store: SessionStore = request.getfixturevalue(_opener(request))
    return store


def _opener(request: pytest.FixtureRequest) -> str:
    """Return the fixture that opens a store on the event loop of the test."""
    if "anyio_backend" in request.fixturenames:
        return "_turnstore_on_anyio"
    if request.config.pluginmanager.has_plugin("asyncio"):
        return "_turnstore_on_asyncio"
    pytest.fail(
        "the fixture turnstore needs an event loop: mark the test with "
        "pytest.mark.anyio, or install pytest-asyncio",
        pytrace=False,
    )


async def _open(
    turnstore_url: str | Path, turnstore_options: StoreOptions
) -> AsyncIterator[SessionStore]:
    async with SessionStore(turnstore_url, turnstore_options) as store:
        yield store


# The same fixture for each plugin, as each runs only those fixtures that it knows for
# its own: anyio's by the argument anyio_backend, the other's by its decorator.
@pytest.fixture
async def _turnstore_on_anyio(
    anyio_backend: object, turnstore_url: str | Path, turnstore_options: StoreOptions
) -> AsyncIterator[SessionStore]:
    async for store in _open(turnstore_url, turnstore_options):
        yield store


if find_spec("pytest_asyncio") is not None:
    import pytest_asyncio

    _turnstore_on_asyncio = pytest_asyncio.fixture(_open)
