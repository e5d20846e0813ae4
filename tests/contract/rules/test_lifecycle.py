"""The life of a store: making it, its options, open and close, statistics.

Left to a backend's own tests: the modes of files and folders, the path of a URL and
the default one, and a schema that is older or newer than this release.
"""

from __future__ import annotations

import asyncio
import math
import os
from pathlib import Path
from typing import Any, Final

import pytest

from tests.contract.calls import EVERY, outcomes_of
from tests.contract.ways import OpenStore
from turnstore import (
    InvalidArgument,
    Session,
    SessionStore,
    StoreClosed,
    StoreError,
    StoreOptions,
    StoreStatistics,
    Usage,
)

URLS: Final = [
    None,
    "sqlite://",
    "sqlite:///a.db",
    "sqlite:////a.db",
    Path("folder/a.db"),
]
OPTIONS: Final = StoreOptions.__struct_fields__
NUMBERS: Final = [
    name
    for name in OPTIONS
    if isinstance(getattr(StoreOptions(), name), int | float)
    and not isinstance(getattr(StoreOptions(), name), bool)
]


# Making


@pytest.mark.parametrize("url", URLS, ids=str)
def test_making_a_store_does_no_io(
    url: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    SessionStore(url)
    assert os.listdir(tmp_path) == []


def test_a_postgresql_url_is_taken_without_a_server() -> None:
    pytest.importorskip("asyncpg")
    store = SessionStore("postgresql://nobody@nowhere.invalid/store")
    assert store.options == StoreOptions()


@pytest.mark.parametrize(
    "url", ["", "nonsense", "store.db", "mysql://host/a", 5, b"sqlite://"]
)
def test_another_url_is_an_invalid_argument(url: Any) -> None:
    with pytest.raises(InvalidArgument):
        SessionStore(url)


# Options


def test_options_have_the_documented_defaults() -> None:
    options = StoreOptions()
    assert (options.readers, options.busy_timeout_s) == (2, 5.0)
    assert (options.queue_commands_max, options.queue_timeout_s) == (10_000, 30)
    assert options.batch_commands_max == 2_048
    assert options.payload_bytes_max == 16 * 1024 * 1024
    assert (options.read_only, options.poll_interval_s) == (False, 0.1)


def test_options_do_not_change() -> None:
    options = StoreOptions()
    with pytest.raises(AttributeError):
        options.readers = 3  # type: ignore[misc]
    assert options == StoreOptions(readers=2)


def test_options_are_given_by_keyword() -> None:
    with pytest.raises(TypeError):
        StoreOptions(3)  # type: ignore[call-arg]
    assert StoreOptions(readers=3).readers == 3


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_of_the_wrong_type_is_a_value_error(name: str) -> None:
    wrong: list[Any] = ["fast", 0.5j, [2], b"2"]
    for value in wrong:
        with pytest.raises(ValueError, match=name):
            StoreOptions(**{name: value})


@pytest.mark.parametrize("name", NUMBERS)
def test_an_option_out_of_bounds_is_a_value_error(name: str) -> None:
    outside: list[Any] = [-1, 2**63, math.inf, math.nan]
    for value in outside:
        with pytest.raises(ValueError, match=name):
            StoreOptions(**{name: value})


@pytest.mark.parametrize("durability", ["normal", "full"])
async def test_each_durability_opens_and_writes(
    open_store: OpenStore, durability: str
) -> None:
    store = await open_store(durability=durability)
    assert store.options.durability == durability
    assert (await store.sessions.create(id="s")).id == "s"


# Open and close


async def test_an_open_store_takes_sessions_messages_and_events(
    store: SessionStore,
) -> None:
    session = await store.sessions.create(
        agent_name="coder", project_root="/repo", model="gpt-5.5"
    )
    await store.messages.append(session.id, "user", "List the failing tests")
    data = {"text": "…"}
    seq = await store.events.append(
        session.id, "message.complete", data, model="gpt-5.5"
    )
    assert seq == 1


async def test_use_before_open_raises_store_closed() -> None:
    outcomes = await outcomes_of(EVERY, SessionStore("sqlite://"))
    found = {name: type(each) for name, each in outcomes.items()}
    assert found == dict.fromkeys(EVERY, StoreClosed)


async def test_use_after_close_raises_store_closed(
    store: SessionStore, session: Session
) -> None:
    await store.close()
    outcomes = await outcomes_of(EVERY, store)
    found = {name: type(each) for name, each in outcomes.items()}
    assert found == dict.fromkeys(EVERY, StoreClosed)


async def test_a_second_close_does_nothing(store: SessionStore) -> None:
    await store.close()
    await store.close()
    with pytest.raises(StoreClosed):
        await store.sessions.count()


async def test_a_store_that_was_never_opened_can_be_closed() -> None:
    store = SessionStore("sqlite://")
    await store.close()
    with pytest.raises(StoreClosed):
        await store.open()


async def test_a_second_open_is_a_store_error_and_the_store_goes_on(
    store: SessionStore,
) -> None:
    with pytest.raises(StoreError):
        await store.open()
    assert (await store.sessions.create(id="s")).id == "s"


async def test_a_closed_store_cannot_be_opened_again(store: SessionStore) -> None:
    await store.close()
    with pytest.raises(StoreClosed):
        await store.open()


async def test_close_commits_what_was_queued(open_store: OpenStore) -> None:
    store = await open_store(batch_commands_max=1)
    await store.sessions.create(id="s")
    appends = [asyncio.create_task(store.events.append("s", "e")) for _ in range(9)]
    closing = asyncio.create_task(store.close())
    assert await asyncio.gather(*appends) == [*range(1, 10)]
    await closing


# Statistics


async def test_statistics_count_commands_and_batches(store: SessionStore) -> None:
    before = await store.statistics()
    await asyncio.gather(*(store.sessions.create() for _ in range(5)))
    after = await store.statistics()
    assert after.commands - before.commands == 5
    assert 1 <= after.batches - before.batches <= 5
    assert after.queue_depth == 0


async def test_gathered_calls_share_commits(store: SessionStore) -> None:
    before = await store.statistics()
    await asyncio.gather(*(store.sessions.create() for _ in range(50)))
    after = await store.statistics()
    assert after.batches - before.batches < 50
    assert after.batch_size_p99 > 1


async def test_statistics_are_a_record_of_the_writer_and_the_readers(
    store: SessionStore, session: Session
) -> None:
    found = await store.statistics()
    assert isinstance(found, StoreStatistics)
    assert (found.queue_depth, found.reader_waits) == (0, 0)
    assert 1 <= found.batch_size_p50 <= found.batch_size_p99
    assert 0 < found.commit_ms_p50 <= found.commit_ms_p99
    assert found.wal_bytes >= 0


async def test_statistics_count_reads_that_waited(open_store: OpenStore) -> None:
    store = await open_store(readers=1)
    await store.sessions.create(id="s")
    await asyncio.gather(*(store.sessions.get("s") for _ in range(9)))
    assert (await store.statistics()).reader_waits > 0


# Several stores on one database


async def test_stores_opened_at_once_share_one_database(open_shared: OpenStore) -> None:
    stores = await asyncio.gather(*(open_shared() for _ in range(4)))
    await stores[0].sessions.create(id="s")
    found = [await each.sessions.get("s") for each in stores]
    assert [each and each.id for each in found] == ["s"] * 4


async def test_what_was_written_is_there_when_opened_again(
    store: SessionStore, session: Session, open_shared: OpenStore
) -> None:
    await store.messages.append("s", "user", "hello", usage=Usage())
    await store.tool_calls.create("s", "ls", {})
    await store.events.append("s", "e", [1])
    await store.sessions.update("s", title="t", metadata={"a": "b"})
    before = (await store.sessions.load("s"), await store.events.list("s"))
    await store.close()
    again = await open_shared()
    assert (await again.sessions.load("s"), await again.events.list("s")) == before


async def test_check_opens_a_database_that_is_up_to_date(
    store: SessionStore, session: Session, open_shared: OpenStore
) -> None:
    checked = await open_shared(migrate="check")
    assert await checked.sessions.get("s") == session
