"""A store with something of everything, and what two stores are compared by."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Text, select, type_coerce

from tests.support.files import koda_files, microagents_files, nocodo_files
from turnstore import (
    NewEvent,
    NewMessage,
    Question,
    SessionFilter,
    SessionStore,
    Setting,
    ToolPolicy,
    Usage,
)
from turnstore.sql import schema
from turnstore.transfer import import_file

SAMPLE = str(resources.files("turnstore").joinpath("sample.jsonl"))
ODD = "NUL \x00, é 漢 🙂 \u2028 \x7f \\ \" ' % {} null"
BIG = {"big": 10**60, "z": 1, "a": [None, True, -0.5, 1e300], ODD: ODD}
USED = Usage(prompt_tokens=10**12, completion_tokens=7, thinking_tokens=1)
KEYS = ("session_key", "row_key", "source_key")


async def fill(store: SessionStore, folder: Path) -> None:
    """Fill a new store; other systems' files are made in the folder."""
    for each in ("gone", "plain", "wide"):
        await store.sessions.create(
            id=f"{each} 漢",
            agent_name="null",
            title=f"{ODD} {each}",
            project_root="/Ünï",
            model="1",
            system_prompt=ODD,
            config=BIG,
            metadata={"b": ODD, "A": "true", "ä": "", "Z": "null"},
            tool_policy=ToolPolicy(mode="mixed", tools=frozenset(("ls", "pytest"))),
        )
        await store.events.append_many(f"{each} 漢", [NewEvent(type="t", data=BIG)] * 3)
        await store.events.append(
            f"{each} 漢", "t", ODD, model="m", turn_id="1", idempotency_key="Zeh"
        )
        await store.messages.append(
            f"{each} 漢", "user", ODD, usage=USED, idempotency_key="äh"
        )
        await store.todos.set(f"{each} 漢", ODD)
        await store.usage.record(f"{each} 漢", USED, agent_name="a", model="m")
    await fill_wide(store, "wide 漢")
    await fork_and_compact(store)
    await store.events.delete_before("plain 漢", 3)
    await store.sessions.delete("gone 漢")
    await store.sessions.update("plain 漢", status="failed", error=ODD, result=BIG)
    await import_file(store, SAMPLE)
    for n, build in enumerate(
        (nocodo_files.odd_cells, koda_files.extended, microagents_files.undecodable)
    ):
        await import_file(store, build(folder / f"{n}.sqlite"))


async def fill_wide(store: SessionStore, id: str) -> None:
    """Add what one session can have beside messages and events."""
    call = await store.tool_calls.create(id, "pytest", BIG, call_id="c1")
    done = await store.tool_calls.create(id, "ls", {}, call_id="c2")
    await store.tool_calls.update(
        id, done.id, status="completed", output=ODD, result=BIG, execution_time_ms=2**40
    )
    await store.questions.store(
        id,
        [
            Question(question_id="q1", question=ODD, options=["a", ODD]),
            Question(question_id="q2", question="?", default="x"),
        ],
        tool_call_id=call.id,
    )
    await store.questions.answer(id, {"q1": ODD})
    await store.settings.store(
        id,
        [Setting(setting_key="k", setting_name="key", value="s3cr\x00et", secret=True)],
    )


async def fork_and_compact(store: SessionStore) -> None:
    """Fork twice over, delete the root of it, compact, purge and archive again."""
    await store.sessions.create(id="root")
    talk = [
        NewMessage(role="user" if n % 2 else "assistant", content=f"{n} {ODD}")
        for n in range(12)
    ]
    await store.messages.append_many("root", talk)
    await store.messages.compact("root", ODD, preserve=3, usage=USED, model="m")
    await store.sessions.fork("root", new_id="fork")
    await store.messages.append("fork", "user", "another way")
    await store.events.append("fork", "t", 1)
    await store.sessions.fork("fork", new_id="fork of it", at_message_seq=12)
    await store.sessions.fork("root", new_id="from the root")
    await store.messages.append_many("root", talk)
    await store.messages.compact("root", "again", preserve=2)
    assert await store.archive.purge(older_than_days=0, session_id="root")
    await store.messages.compact("fork", "here too", preserve=2)
    await store.sessions.fork("wide 漢", new_id="shown", at_event_seq=2)
    await store.messages.append("shown", "user", "more")
    await store.sessions.fork("shown", new_id="shown again")
    await store.sessions.create(id="short lived")
    await store.messages.append("short lived", "user", ODD)
    await store.sessions.fork("short lived", new_id="heir")
    await store.messages.append("short lived", "user", "not shown", usage=USED)
    await store.sessions.delete("short lived")


async def rows(store: SessionStore) -> dict[str, list[Any]]:
    """Return every table, sorted, with sessions by id in place of integer keys."""

    def read(connection: Any) -> dict[str, list[Any]]:
        columns = select(schema.sessions.c.session_key, schema.sessions.c.id)
        ids = {row.session_key: row.id for row in connection.execute(columns)}
        found = {}
        for table in schema.metadata.sorted_tables:
            # As they are stored: rows of the driver, not records.
            plain = [
                type_coerce(each, BigInteger if _is_number(each) else Text)
                for each in table.c
                if each.name != "row_key"
            ]
            names = [each.name for each in table.c if each.name != "row_key"]
            listed = [
                [
                    ids.get(value) if name in KEYS else value
                    for name, value in zip(names, row, strict=True)
                ]
                for row in connection.execute(select(*plain))
            ]
            found[table.name] = sorted(listed, key=repr)
        return found

    return await store._backend.read(read, snapshot=True)


def _is_number(column: Any) -> bool:
    return column.type.python_type is int


async def records(store: SessionStore) -> list[Any]:
    """Return what the rooms give of every session, as JSON."""
    found: list[Any] = [
        sorted((await store.usage.by_day(SessionFilter())).items(), key=repr)
    ]
    page = await store.sessions.list(order_by="created_at", limit=1_000)
    for each in sorted(page.items, key=lambda session: session.id):
        found += [
            await store.sessions.load(each.id),
            await store.events.list(each.id),
            await store.messages.context(each.id),
            await store.metadata.all(each.id),
            await store.todos.get(each.id),
            await store.questions.list(each.id),
            [setting.value for setting in await store.settings.list(each.id)],
            await store.usage.by_agent(each.id),
            await store.usage.by_model(each.id),
            await store.archive.statistics(session_id=each.id),
        ]
    assert len(found) > 50
    return [msgspec.to_builtins(each, str_keys=True) for each in found]
