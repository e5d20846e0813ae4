"""Settings of a store: unit, bound and check of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from turnstore.values import is_a, shown

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

_BOUNDS: Final[dict[str, tuple[float, float]]] = {
    "readers": (1, 64),
    "lanes": (1, 64),
    "busy_timeout_s": (0, 3_600),
    "acquire_timeout_s": (0, 3_600),
    "answer_timeout_s": (0.01, 3_600),
    "close_timeout_s": (0, 3_600),
    "queue_commands_max": (1, 1_000_000),
    "queue_timeout_s": (0, 3_600),
    "batch_commands_max": (1, 65_536),
    "batch_bytes_max": (4 * KIB, 512 * MIB),
    "payload_bytes_max": (1, 256 * MIB),
    "wal_bytes_max": (1 * MIB, 64 * GIB),
    "poll_interval_s": (0.001, 60),
    "replica_wait_s": (0, 60),
}
_CHOICES: Final[dict[str, tuple[object, ...]]] = {
    "durability": (None, "normal", "full"),
    "migrate": (None, "auto", "check"),
    "read_only": (False, True),
    "behind_pooler": (None, False, True),
}


class StoreOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Every option is checked when the object is made; ``ValueError`` names the bound.

    Times (``_s``) are seconds: up to 3,600, ``answer_timeout_s`` from 0.01;
    ``poll_interval_s`` 0.001 to 60, ``replica_wait_s`` up to 60. ``readers`` and
    ``lanes``: 1 to 64. ``queue_commands_max``: 1 to 1,000,000. ``batch_commands_max``:
    1 to 65,536. Bytes: ``batch_bytes_max`` 4 KiB to 512 MiB, ``payload_bytes_max`` 1
    byte to 256 MiB, ``wal_bytes_max`` 1 MiB to 64 GiB.

    :param readers: connections that read at the same time. More than a few don't
        help under the GIL.
    :param lanes: PostgreSQL: connections that write at the same time.
    :param durability: ``"normal"``: a returned write survives the death of the
        process. ``"full"``: power loss too. None: normal on SQLite, full on PostgreSQL.
    :param busy_timeout_s: longest wait for another process's write lock, then
        ``DatabaseBusy``. PostgreSQL: at most 0.8 of ``answer_timeout_s`` then; also how
        long what failed for a passing reason is tried again.
    :param acquire_timeout_s: longest wait for a reader, then ``AcquireTimeout``.
    :param answer_timeout_s: PostgreSQL: longest wait for the server's answer to a
        statement, then ``BackendUnavailable``; to a commit, or to the one statement
        that several appends of events may be, then ``OutcomeUnknown``.
    :param close_timeout_s: how long ``close`` lets queued writes finish; what is
        left then gets ``StoreClosed``.
    :param queue_commands_max: writes waiting at most; beyond it callers wait.
    :param queue_timeout_s: longest wait for room in the queue, then ``QueueFull``.
    :param batch_commands_max: writes in one commit at most.
    :param batch_bytes_max: payload bytes in one commit, except for a single write
        that is larger.
    :param payload_bytes_max: bytes of one payload encoded, then ``PayloadTooLarge``.
    :param wal_bytes_max: SQLite: largest size of the write-ahead log, except for a
        single write that is larger. While readers keep the log, writes that would pass
        it are held back for ``busy_timeout_s``, then ``DatabaseBusy``.
    :param migrate: ``"auto"`` upgrades the schema on open, ``"check"`` refuses an
        older one. None: auto on SQLite, check on PostgreSQL.
    :param read_only: open without write access; writes raise ``ReadOnlyStore``.
    :param behind_pooler: PostgreSQL: whether a pooler gives each transaction another
        server connection. The server then parses statements each time, and followers
        learn of other stores' writes by polling alone. None: detect one, and take it
        for such a pooler. False: direct connection, or a session-mode pooler that
        accepts or ignores ``plan_cache_mode``.
    :param poll_interval_s: how often followers look for other processes' writes.
    :param read_url: PostgreSQL: a replica of the store's database, ``postgresql://``
        as the store's own URL. Reads go there and see what this store has written;
        while the replica is away, lags or is none, they go to the primary. It is not
        shown in the ``repr``.
    :param replica_wait_s: PostgreSQL: longest wait for the replica to have what a read
        must see, before it goes to the primary.
    """

    readers: int = 2
    lanes: int = 4
    durability: Literal["normal", "full"] | None = None
    busy_timeout_s: float = 5.0
    acquire_timeout_s: float = 30.0
    answer_timeout_s: float = 30.0
    close_timeout_s: float = 30.0
    queue_commands_max: int = 10_000
    queue_timeout_s: float = 30.0
    batch_commands_max: int = 2_048
    batch_bytes_max: int = 32 * MIB
    payload_bytes_max: int = 16 * MIB
    wal_bytes_max: int = 1 * GIB
    migrate: Literal["auto", "check"] | None = None
    read_only: bool = False
    behind_pooler: bool | None = None
    poll_interval_s: float = 0.1
    read_url: str | None = None
    replica_wait_s: float = 0.5

    def __post_init__(self) -> None:
        for name, (low, high) in _BOUNDS.items():
            number = self._check_number(name, getattr(self, name), low, high)
            msgspec.structs.force_setattr(self, name, number)
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if is_a(value, str):
                value = str.__str__(value)
                msgspec.structs.force_setattr(self, name, value)
            if not any(type(value) is type(one) and value == one for one in choices):
                raise ValueError(f"{name} must be one of {choices}, got {shown(value)}")
        self._check_read_url()

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self._shown())
        return f"StoreOptions({fields})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return list(self._shown())

    def _shown(self) -> Iterator[tuple[str, object]]:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            # It may hold a password.
            hidden = name == "read_url" and value is not None
            yield name, "***" if hidden else value

    def _check_read_url(self) -> None:
        url = self.read_url
        if url is None:
            return
        schemes = ("postgresql://", "postgres://")
        if not is_a(url, str) or not str.__str__(url).startswith(schemes):
            # Without what was given: it may hold a password.
            raise ValueError("read_url must be a postgresql:// URL or None")

    @staticmethod
    def _check_number(name: str, value: object, low: float, high: float) -> float:
        kinds = (int, float) if name.endswith("_s") else (int,)
        if type(value) is bool or not is_a(value, kinds):
            raise ValueError(f"{name} must be a number, got {shown(value)}")
        base: Any = int.__int__ if is_a(value, int) else float.__float__
        number: float = base(value)
        if not low <= number <= high:
            raise ValueError(f"{name} must be {low:g} to {high:g}, got {shown(value)}")
        return number
