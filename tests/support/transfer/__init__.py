"""Whole stores to fill, import, export and compare."""
