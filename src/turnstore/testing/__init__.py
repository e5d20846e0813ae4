"""The contract of a store as tests, for who writes a backend or changes one.

A test module subclasses ``StoreConformance`` and says how to open a store::

    class TestMyBackend(StoreConformance):
        @pytest.fixture
        async def open_store(self, tmp_path):
            async with opening(f"sqlite:///{tmp_path}/store.db") as open_store:
                yield open_store

Where several stores may be open on one database, ``SharedStoreConformance`` has what
holds between them too. Each test states one fact. Needs pytest; the tests run on
asyncio by anyio's plugin, which comes with anyio.
"""

import pkgutil as _pkgutil

try:
    import pytest as _pytest
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "turnstore.testing needs pytest: pip install pytest"
    ) from error
else:
    # So that a failing test tells its values.
    _pytest.register_assert_rewrite(
        *(f"{__name__}.{each.name}" for each in _pkgutil.iter_modules(__path__))
    )

from turnstore.testing.conformance import (
    SharedStoreConformance as SharedStoreConformance,
)
from turnstore.testing.conformance import StoreConformance as StoreConformance
from turnstore.testing.fixtures import OpenStore as OpenStore
from turnstore.testing.fixtures import opening as opening

__all__ = ["OpenStore", "SharedStoreConformance", "StoreConformance", "opening"]
