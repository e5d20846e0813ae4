"""A process that forks a child for each line on stdin, which runs a scenario.

A line is a JSON object: ``scenario``, ``path``, ``durability``, ``seed``, and
``fault``: null, or the arguments of ``Faults.fail``, set where the scenario says so. On
stdout: ``pid``, the ledger's lines, ``failed``, ``copied``, ``end`` with the status.
A fork takes a hundredth of what a new interpreter takes; the parent opens no store.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.support.faults import Faults
from tests.support.ledger import KINDS, WORKERS
from turnstore import SessionStore, StoreError, StoreOptions, transfer


def say(*words: object) -> None:
    # One write of a short line is atomic in a pipe.
    os.write(1, ("\t".join(map(str, words)) + "\n").encode())


class Scenario:
    """One child's work."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.path = Path(order["path"])
        self.rng = random.Random(order["seed"])
        self.name = f"{order['seed']}"
        self.fault: dict[str, Any] | None = order.get("fault")
        self.options = StoreOptions(
            durability=order.get("durability", "normal"),
            # Neither is what a scenario is about, and both only cost time here.
            busy_timeout_s=order.get("busy_timeout_s", 5.0),
            close_timeout_s=5.0,
        )
        self._numbers = 0

    def store(self) -> SessionStore:
        return SessionStore(self.path, self.options)

    def faults_begin(self) -> None:
        if self.fault is not None:
            faults = Faults.of_this_process()
            if self.fault["operation"] == "count":
                faults.count(self.fault["ending"])
            else:
                faults.fail(**self.fault)

    def faults_end(self) -> None:
        if self.fault is not None:
            Faults.of_this_process().stop()

    async def write(self, store: SessionStore, session: str, kind: str) -> None:
        self._numbers += 1
        mark = f"mark {self.name} {self._numbers}"
        say("begin", mark, kind)
        try:
            await KINDS[kind][0](store, session, mark)
        except StoreError as error:
            say("raised", mark, type(error).__name__)
        except Exception as error:
            say("raised", mark, f"untyped {error!r}")
        else:
            say("done", mark, kind)

    async def typed(self, work: Any) -> None:
        """Await what may fail, with a typed error."""
        try:
            await work
        except StoreError as error:
            say("failed", "", type(error).__name__)

    async def sessions(self, store: SessionStore) -> None:
        for at in range(WORKERS):
            if await store.sessions.get(f"s{at}") is None:
                await store.sessions.create(id=f"s{at}")

    async def filled(self, store: SessionStore) -> None:
        await self.sessions(store)
        for kind in ("event", "messages", "large event", "turn"):
            await self.write(store, "s0", kind)


async def every_write(scenario: Scenario) -> None:
    """Write for ever, every kind, from several tasks; now and then a checkpoint, a
    vacuum or a backup; now and then close and open again."""
    kinds, rng = [*KINDS], scenario.rng
    copies = scenario.path.parent / "copies"
    copies.mkdir(exist_ok=True)

    async def work(store: SessionStore, session: str, writes: int) -> None:
        for _ in range(writes):
            await scenario.write(store, session, rng.choice(kinds))

    async def maintain(store: SessionStore, number: int) -> None:
        match rng.randrange(4):
            case 0:
                await scenario.typed(store.admin.checkpoint())
            case 1:
                await scenario.typed(store.admin.vacuum())
            case 2:
                copy = copies / f"{scenario.name}-{number}.db"
                await scenario.typed(store.admin.backup(copy))
                say("copied", "", copy)

    number = 0
    while True:
        async with scenario.store() as store:
            await scenario.sessions(store)
            for _ in range(rng.randrange(1, 4)):
                number += 1
                workers = [work(store, f"s{at}", 12) for at in range(WORKERS)]
                await asyncio.gather(*workers, maintain(store, number))


async def some_writes(scenario: Scenario) -> None:
    """Write every kind from several tasks, as other processes do to the sessions."""
    rng = scenario.rng

    async def work(store: SessionStore, session: str) -> None:
        for _ in range(6):
            await scenario.write(store, session, rng.choice([*KINDS]))

    async with scenario.store() as store:
        await asyncio.gather(*(work(store, f"s{at}") for at in range(WORKERS)))


async def append(scenario: Scenario) -> None:
    async with scenario.store() as store:
        await scenario.filled(store)
        scenario.faults_begin()
        for kind in KINDS:
            await scenario.write(store, "s0", kind)
        events = [scenario.write(store, f"s{at}", "event") for at in range(WORKERS)]
        await asyncio.gather(*events)
        scenario.faults_end()


async def checkpoint(scenario: Scenario) -> None:
    async with scenario.store() as store:
        await scenario.filled(store)
        scenario.faults_begin()
        await scenario.typed(store.admin.checkpoint())
        await scenario.write(store, "s1", "turn")
        await scenario.typed(store.admin.checkpoint())
        scenario.faults_end()
        await scenario.write(store, "s1", "event")


async def migration(scenario: Scenario) -> None:
    scenario.faults_begin()
    try:
        async with scenario.store() as store:
            await scenario.sessions(store)
            await scenario.write(store, "s0", "turn")
    finally:
        scenario.faults_end()


async def backup(scenario: Scenario) -> None:
    async with scenario.store() as store:
        await scenario.filled(store)
        scenario.faults_begin()
        copy = scenario.path.with_name("copy.db")
        await store.admin.backup(copy)
        say("copied", "", copy)
        scenario.faults_end()


async def close(scenario: Scenario) -> None:
    store = scenario.store()
    await store.open()
    await scenario.filled(store)
    scenario.faults_begin()
    writes = [scenario.write(store, f"s{at}", "event") for at in range(WORKERS)]
    working = asyncio.gather(*writes)
    await asyncio.sleep(0)
    await scenario.typed(store.close())
    await working
    scenario.faults_end()


async def chat_import(scenario: Scenario) -> None:
    async with scenario.store() as store:
        scenario.faults_begin()
        chats = scenario.path.with_name("chats.jsonl")
        await scenario.typed(transfer.import_file(store, chats))
        scenario.faults_end()


SCENARIOS: Final[dict[str, Callable[[Scenario], Any]]] = {
    each.__name__: each
    for each in (
        every_write,
        some_writes,
        append,
        checkpoint,
        migration,
        backup,
        close,
        chat_import,
    )
}


def run(order: dict[str, Any]) -> None:
    try:
        asyncio.run(SCENARIOS[order["scenario"]](Scenario(order)))
    except StoreError as error:
        say("failed", "", type(error).__name__)
        os._exit(3)
    except BaseException as error:
        traceback.print_exc()
        say("failed", "", f"untyped {error!r}")
        os._exit(4)
    os._exit(0)


def main() -> None:
    for text in sys.stdin:
        child = os.fork()
        if child == 0:
            run(json.loads(text))
        say("pid", child, "")
        _, status = os.waitpid(child, 0)
        say("end", os.waitstatus_to_exitcode(status), "")


if __name__ == "__main__":
    main()
