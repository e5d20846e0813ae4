"""Every kind of damage to every column of every table, by SQL past the store.

The columns are those of the metadata, so that a new one is covered by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Column, Integer

from turnstore import (
    NewMessage,
    Question,
    SessionStore,
    Setting,
    ToolPolicy,
    Usage,
)
from turnstore.engine.sqlite.library import library
from turnstore.sql.column_types import JsonText, Micros
from turnstore.sql.schema import metadata

KEYS = ("session_key", "source_key", "row_key", "token")
"""Integer keys, which other rows refer to: a row with another one is another row."""


class Damage(NamedTuple):
    """A value, as SQL, that a column must not have."""

    table: str
    column: str
    kind: str
    value: str

    @property
    def name(self) -> str:
        return f"{self.table}.{self.column} {self.kind}"


def of_column(column: Column[Any], dialect: str) -> Iterator[Damage]:
    """Yield what is wrong in a column. PostgreSQL keeps the types of its columns."""
    is_number = isinstance(column.type, BigInteger | Integer | Micros)
    kinds: dict[str, str] = {}
    if dialect == "sqlite":
        if not column.nullable:
            kinds["null"] = "NULL"
        if is_number:
            kinds |= {"text": "'x'", "blob": "x'00ff'", "real": "1.5"}
        else:
            kinds |= {"not UTF-8": "CAST(x'22fffe22' AS TEXT)", "blob": "x'ff00'"}
    if isinstance(column.type, Micros):
        kinds |= {"too late": str(2**60), "too early": str(-(2**60))}
    if isinstance(column.type, JsonText):
        kinds |= {"cut": "'{'", "with NUL": "'\"a' || char(0) || '\"'", "empty": "''"}
        if column.info["holds"] is not Any:
            kinds["of another type"] = "'12'"
    if dialect != "sqlite":
        # One of a column, as the rows are made anew for each.
        telling = [
            each for each in ("of another type", "cut", "too late") if each in kinds
        ]
        kinds = {each: kinds[each] for each in telling[:1]}
    for kind, value in kinds.items():
        yield Damage(str(column.table.name), str(column.name), kind, value)


def every(dialect: str) -> list[Damage]:
    return [
        damage
        for table in metadata.sorted_tables
        for column in table.c
        if column.name not in KEYS and column.computed is None
        for damage in of_column(column, dialect)
    ]


async def fill(store: SessionStore, id: str) -> None:
    """Make a session that has a row in every table, and a value in every column."""
    await store.sessions.create(id=f"{id}-source")
    await store.messages.append(f"{id}-source", "user", "inherited", id="m")
    await store.events.append(f"{id}-source", "e", "inherited")
    await store.sessions.fork(f"{id}-source", new_id=id)
    await store.sessions.update(
        id,
        title="a title",
        user_id="u",
        agent_name="a",
        project_root="/p",
        provider="p",
        model="m",
        system_prompt="s",
        user_prompt="u",
        config={"a": 1},
        tool_policy=ToolPolicy(),
        parent_session_id="parent",
        status="failed",
        result=[1],
        error="e",
        metadata={"k": "v"},
    )
    used = Usage(prompt_tokens=1)
    talk = [
        NewMessage(role="user" if at % 2 else "assistant", content=str(at), name="n")
        for at in range(8)
    ]
    await store.messages.append_many(id, talk)
    await store.messages.append(
        id,
        "assistant",
        "used",
        id="used",
        usage=used,
        model="m",
        agent_name="a",
        tool_calls=[{"id": "c"}],
        tool_call_id="c",
        idempotency_key="k",
    )
    call = await store.tool_calls.create(id, "ls", {"a": 1}, id="c", call_id="c")
    await store.tool_calls.update(
        id, call.id, status="executing", output="o", result=1, error_details=2
    )
    await store.tool_calls.update(
        id, call.id, status="failed", error="e", execution_time_ms=1
    )
    await store.messages.compact(id, "so far", preserve=3, usage=used, model="m")
    for at in range(3):
        await store.events.append(
            id, "e", {"at": at}, model="m", turn_id="t", idempotency_key=str(at)
        )
    await store.todos.set(id, ["todo"])
    await store.questions.store(
        id,
        [Question(question_id="q", question="?", description="d", options=["a"])],
        tool_call_id="c",
    )
    await store.questions.answer(id, {"q": "a"})
    await store.settings.store(id, [Setting(setting_key="k", setting_name="K")])
    await store.settings.answer(id, {"k": 1})
    await store.sessions.lease(id, ttl_s=86_400).__aenter__()


_SOURCE_ROW = (
    "INSERT INTO source_rows (session_key, system, batch, table_name, position, row) "
    "SELECT session_key, 'x', 'b', 't', 1, '{}' FROM sessions WHERE id = 'gone'"
)
KEPT = (
    "INSERT INTO imports (batch, system, about, created_at) VALUES ('b', 'x', '{}', 1)",
    _SOURCE_ROW,
)
"""Rows that imports keep."""


async def execute(url: str | Path, *statements: str) -> None:
    """Run SQL on the database of a store that is closed, whatever its columns say."""
    if isinstance(url, Path):
        _execute_on_file(url, statements)
        return
    import asyncpg

    connection = await asyncpg.connect(url, statement_cache_size=0)
    try:
        for each in statements:
            await connection.execute(each)
    finally:
        await connection.close()


def _execute_on_file(path: Path, statements: tuple[str, ...]) -> None:
    module = library().module
    declared = "SELECT rowid, sql FROM sqlite_master WHERE sql LIKE '%NOT NULL%'"
    connection = module.connect(str(path), isolation_level=None)
    connection.execute("PRAGMA writable_schema = 1")
    before = connection.execute(declared).fetchall()
    connection.execute(
        "UPDATE sqlite_master SET sql = replace(sql, 'NOT NULL', '') "
        "WHERE type = 'table' AND name IN (SELECT name FROM pragma_table_list "
        "WHERE type = 'table')"
    )
    connection.close()
    connection = module.connect(str(path), isolation_level=None)
    for each in statements:
        connection.execute(each)
    connection.execute("PRAGMA writable_schema = 1")
    connection.executemany("UPDATE sqlite_master SET sql = ?2 WHERE rowid = ?1", before)
    connection.close()
