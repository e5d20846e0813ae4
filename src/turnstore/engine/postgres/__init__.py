"""The engine on PostgreSQL: writing lanes, pooled readers, replicas, lost connections.

``backend`` puts the parts together. Needs the extra ``postgres``, so it is imported by
``engine.urls`` alone, and only for such a URL.
"""
