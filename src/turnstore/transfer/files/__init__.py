"""Importing and exporting SQLite files of other systems: what all systems share.

A system describes itself by a ``system.System``. ``importing`` reads a file by that
description, and ``exporting`` writes one. The folders of the systems import from here,
never the other way round. Code here touches the store through ``store.engine``, its own
commands and ``transfer.rows``; it opens the other systems' files itself.
"""
