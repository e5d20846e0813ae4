"""The engine on one SQLite file: a writing thread, pooled readers, the WAL's upkeep.

``backend`` puts the parts together; each connection lives on a ``thread`` of its own.
Imported by ``engine.urls`` alone.
"""
