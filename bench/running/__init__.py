"""How samples are taken: the event loop, callers, rounds, the machine, a server."""
