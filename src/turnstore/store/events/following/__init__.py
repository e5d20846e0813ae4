"""``store.events.follow``: events as they are committed, by any process.

A ``follower`` is the caller's iterator. It takes in what ``followers``, the
registry that hears of commits, puts into its ``intake``, and reads what it has
missed by ``reads``.
"""
