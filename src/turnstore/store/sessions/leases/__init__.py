"""Leases: which runtime may run a session.

``lease`` has what callers hold, ``renewals`` extends the leases of a store in the
background, ``writes`` has the commands and the check that decides: it reads the lease
in the transaction of the writes that it fences.
"""
