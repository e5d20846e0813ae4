"""Usage: rows of the append-only ledger, and the totals that the heads carry."""

from __future__ import annotations

from typing import Final

import msgspec
from sqlalchemy import Connection

from turnstore.errors import InvalidArgument
from turnstore.records import Usage
from turnstore.sql import codec
from turnstore.sql.bulk import Insert, Update
from turnstore.sql.schema import session_heads, usage_ledger
from turnstore.store.heads import Head
from turnstore.values import is_a, type_name

COUNTS: Final = Usage.__struct_fields__
"""The counts of a usage: columns of the ledger and of the heads alike."""
COUNT_MAX: Final = 10**12
"""Bound on each count of a ``Usage``, so that no total overflows."""


class UsageHead(Head):
    """What a command loads of the heads to count usage."""

    usage_head: int
    prompt_tokens: int
    completion_tokens: int
    cache_read_tokens: int
    cache_creation_tokens: int
    thinking_tokens: int
    api_calls: int

    def count(self, usage: Usage) -> None:
        self.usage_head += 1
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + getattr(usage, name))


class LedgerRow(msgspec.Struct, frozen=True, gc=False):
    """A row of ``usage_ledger``. It ends with the fields of ``Usage``, in order."""

    session_key: int
    seq: int
    message_seq: int | None
    agent_name: str | None
    model: str | None
    created_at: int
    prompt_tokens: int
    completion_tokens: int
    cache_read_tokens: int
    cache_creation_tokens: int
    thinking_tokens: int
    api_calls: int


assert LedgerRow.__struct_fields__[-len(COUNTS) :] == COUNTS


class Ledger:
    """What a batch adds to the ledger, and to the totals of its sessions."""

    def __init__(self) -> None:
        self._rows: list[LedgerRow] = []
        self._heads: dict[int, UsageHead] = {}

    def add(
        self,
        head: UsageHead,
        usage: Usage,
        *,
        agent_name: str | None,
        model: str | None,
        created_at: int,
        message_seq: int | None = None,
    ) -> None:
        """Take a model call's usage, counting on from the head. It is one call, unless
        the usage says otherwise."""
        if not usage.api_calls:
            usage = msgspec.structs.replace(usage, api_calls=1)
        head.count(usage)
        self._heads[head.session_key] = head
        self._rows.append(
            LedgerRow(
                head.session_key,
                head.usage_head,
                message_seq,
                agent_name,
                model,
                created_at,
                *msgspec.structs.astuple(usage),
            )
        )

    def insert(self, connection: Connection) -> None:
        _INSERT(connection, self._rows)
        _SET_TOTALS(
            connection,
            [
                [
                    key,
                    head.usage_head,
                    head.prompt_tokens + head.completion_tokens,
                    *(getattr(head, name) for name in COUNTS),
                ]
                for key, head in self._heads.items()
            ],
        )


def check_usage(usage: object) -> Usage:
    """:raises InvalidArgument: no ``Usage``, or a count is out of bounds."""
    if not is_a(usage, Usage):
        raise InvalidArgument(f"usage must be a Usage, got {type_name(usage)}")
    assert isinstance(usage, Usage)
    counts = {
        name: codec.check_integer(count, f"usage.{name}", 0, COUNT_MAX)
        for name, count in msgspec.structs.asdict(usage).items()
    }
    return Usage(**counts)


_INSERT: Final = Insert(usage_ledger, LedgerRow)
_SET_TOTALS: Final = Update(
    session_heads,
    [session_heads.c.session_key],
    [
        session_heads.c.usage_head,
        session_heads.c.total_tokens,
        *(session_heads.c[name] for name in COUNTS),
    ],
)
