"""The parts of turnstore that are not public and that a fair comparison needs.

The raw side opens a store's files with the library and the pragmas of the store, and
large stores are filled with rows of its tables. Nothing else here imports a private
module.
"""

from turnstore import schema as schema
from turnstore.backends._sqlite_files import file_system as file_system
from turnstore.backends._sqlite_library import library as library
from turnstore.backends._sqlite_wal import BYTES_KEPT_MAX as BYTES_KEPT_MAX
from turnstore.backends._sqlite_wal import CHECKPOINT_PAGES as CHECKPOINT_PAGES
from turnstore.backends.sqlite import CACHE_KIB as CACHE_KIB
