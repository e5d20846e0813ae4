"""Benchmarks: turnstore compared with raw drivers and with plain SQLAlchemy.

``workloads/`` is what is measured, ``references/`` what it is compared with, ``data/``
what the stores hold, ``running/`` takes the samples, ``reporting/`` shows and keeps
them. ``test_*.py`` are the hot paths for pytest-benchmark. See README.md.
"""
