"""Other systems' SQLite files, in and out: what all of these systems share.

A system describes itself as a ``system.System``; ``importing`` reads its file by it
and ``exporting`` writes one. Imports the store's rows and commands, never a
system's folder.
"""
