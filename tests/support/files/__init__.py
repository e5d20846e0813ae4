"""Databases of other systems, built by their own SQL, ordinary and odd ones."""
