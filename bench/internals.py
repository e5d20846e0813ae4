"""The parts of turnstore that are not public and that a fair comparison needs.

The raw side opens a store's files with the library and the pragmas of the store, and
large stores are filled with rows of its tables. Nothing else here imports a private
module.
"""

from turnstore.engine.sqlite.backend import CACHE_KIB as CACHE_KIB
from turnstore.engine.sqlite.files import file_system as file_system
from turnstore.engine.sqlite.library import library as library
from turnstore.engine.sqlite.wal import BYTES_KEPT_MAX as BYTES_KEPT_MAX
from turnstore.engine.sqlite.wal import CHECKPOINT_PAGES as CHECKPOINT_PAGES
from turnstore.sql import schema as schema
