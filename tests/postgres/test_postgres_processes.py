"""Several processes and loops on one database."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading

import pytest

from tests.support.patience import patient
from tests.support.postgres.server import PostgresServer
from tests.support.programs import ROOT, command
from turnstore import SchemaTooOld, SessionStore, StoreClosed, StoreError

pytestmark = pytest.mark.anyio

PROCESSES, SESSIONS, ROUNDS = 4, 5, 300


async def test_sequences_of_four_processes(store: SessionStore, database: str) -> None:
    """Consecutive and unique; no deadlock reaches a caller: all of them end well."""
    processes = [
        await asyncio.create_subprocess_exec(
            *command("sharing", database, f"p{n}", SESSIONS, ROUNDS),
            cwd=ROOT,
            stderr=subprocess.PIPE,
        )
        for n in range(PROCESSES)
    ]
    ended = await asyncio.gather(*(each.communicate() for each in processes))
    assert [stderr for _, stderr in ended] == [b""] * PROCESSES
    written: list[tuple[object, ...]] = []
    messages = 0
    for n in range(SESSIONS):
        events = [each async for each in store.events.stream(f"s{n}")]
        assert [each.seq for each in events] == list(range(1, len(events) + 1))
        written += [tuple(each.data) for each in events]
        rows = await store.messages.list(f"s{n}")
        assert [each.seq for each in rows] == list(range(1, len(rows) + 1))
        messages += len(rows)
    third = ROUNDS // 3
    assert len(written) == len(set(written)) == PROCESSES * third * 5
    assert messages == PROCESSES * third


async def test_stores_that_open_an_empty_database_at_once(
    postgres: PostgresServer,
) -> None:
    """One makes the schema, the others wait for it."""
    import asyncpg

    admin = await asyncpg.connect(postgres.url())
    try:
        await admin.execute("CREATE DATABASE empty")
        url = postgres.url("empty")
        with pytest.raises(SchemaTooOld):
            await SessionStore(url).open()
        stores = [SessionStore(url, patient(migrate="auto")) for _ in range(5)]
        await asyncio.gather(*(each.open() for each in stores))
        made = await asyncio.gather(*(each.sessions.create() for each in stores))
        assert await stores[0].sessions.count() == len({each.id for each in made}) == 5
        await asyncio.gather(*(each.close() for each in stores))
    finally:
        await admin.execute("DROP DATABASE empty WITH (FORCE)")
        await admin.close()


async def test_another_loop_is_refused(store: SessionStore) -> None:
    found: list[BaseException] = []

    def run() -> None:
        async def read() -> None:
            await store.events.head("s")

        try:
            asyncio.run(read())
        except StoreError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert "event loop" in str(found[0])


async def test_before_opening_and_after_closing(database: str) -> None:
    store = SessionStore(database)
    with pytest.raises(StoreClosed):
        await store.events.head("s")
    await store.open()
    await store.close()
    await store.close()
    with pytest.raises(StoreClosed):
        await store.events.append("s", "t")


async def test_a_forked_child_is_refused_and_the_parent_goes_on(
    store: SessionStore,
) -> None:
    await store.sessions.create(id="s")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            store.events.head("s").send(None)
        except StoreClosed as error:
            code = 0 if "fork" in str(error) else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)  # noqa: ASYNC222
    assert os.waitstatus_to_exitcode(status) == 0
    assert await store.events.append("s", "t") == 1
    assert await store.events.head("s") == 1


async def test_a_program_that_does_not_close_ends(
    postgres: PostgresServer,
) -> None:
    program = (
        "import asyncio, sys\n"
        "from turnstore import SessionStore, StoreOptions\n"
        "async def main():\n"
        "    store = SessionStore(sys.argv[1], StoreOptions(migrate='auto'))\n"
        "    await store.open()\n"
        "    await store.sessions.count()\n"
        "    print('done')\n"
        "asyncio.run(main())\n"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, postgres.url(), stdout=subprocess.PIPE
    )
    stdout, _ = await child.communicate()
    assert child.returncode == 0
    assert stdout == b"done\n"
