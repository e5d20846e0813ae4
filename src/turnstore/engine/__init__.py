"""Connections and commits. No table is known here.

``backend`` is the seam that the rest of the house sees, ``commands`` says what a
write is and how a batch of them is applied, ``writer`` queues and commits them in
groups. ``sqlite`` and ``postgres`` are the two engines; ``base`` is what they do
alike, and ``urls`` chooses one. ``waiters`` and ``cancellation`` are what all of these
use to wait.
Only code in here may import a database driver. Imported by ``store`` and
``transfer``.
"""
