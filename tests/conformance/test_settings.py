"""``store.settings``: as questions, with values that may be secret."""

from __future__ import annotations

import logging
import traceback
from typing import Any

import msgspec
import pytest
from rich.pretty import pretty_repr

from turnstore import (
    InvalidArgument,
    PayloadInvalid,
    PayloadTooLarge,
    Session,
    SessionNotFound,
    SessionStore,
    Setting,
    StoreOptions,
    ToolCallNotFound,
)

pytestmark = pytest.mark.anyio

SECRET = "hunter2"


@pytest.fixture
async def session(store: SessionStore) -> Session:
    return await store.sessions.create(id="s")


def setting(key: str, **fields: Any) -> Setting:
    return Setting(setting_key=key, setting_name=f"the {key}", **fields)


def secret(**fields: Any) -> Setting:
    return setting("token", secret=True, **fields)


async def test_every_field_is_kept(store: SessionStore, session: Session) -> None:
    await store.tool_calls.create("s", "ask", {}, id="call")
    given = setting(
        "k", description="d", setting_type="Boolean", value=[True, None], secret=True
    )
    [stored] = await store.settings.store("s", [given], tool_call_id="call")
    assert stored == msgspec.structs.replace(
        given,
        tool_call_id="call",
        created_at=stored.created_at,
        answered_at=stored.created_at,
    )
    assert stored.created_at is not None
    assert await store.settings.list("s") == [stored]


async def test_what_is_not_secret_says_so(
    store: SessionStore, session: Session
) -> None:
    [stored] = await store.settings.store("s", [setting("k")])
    assert (stored.secret, stored.value, stored.answered_at) == (False, None, None)
    assert stored.setting_type == "text"


async def test_a_value_ends_waiting(store: SessionStore, session: Session) -> None:
    await store.settings.store("s", [setting("a"), secret(), setting("a")])
    assert await store.settings.answer("s", {"a": 1, "token": SECRET, "none": 0}) == 3
    assert await store.settings.pending("s") == []
    found = await store.settings.list("s")
    assert [each.value for each in found] == [1, SECRET, 1]
    assert all(each.answered_at for each in found)
    assert await store.settings.answer("s", {"token": None}) == 1
    assert [each.setting_key for each in await store.settings.pending("s")] == ["token"]


async def test_settings_and_questions_are_apart(
    store: SessionStore, session: Session
) -> None:
    await store.settings.store("s", [setting("k")])
    assert await store.questions.list("s") == []
    assert await store.questions.answer("s", {"k": 1}) == 0
    assert len(await store.settings.pending("s")) == 1


async def test_unknown_sessions_and_tool_calls_are_errors(
    store: SessionStore, session: Session
) -> None:
    with pytest.raises(SessionNotFound):
        await store.settings.list("none")
    with pytest.raises(SessionNotFound):
        await store.settings.store("none", [setting("k")])
    with pytest.raises(ToolCallNotFound):
        await store.settings.store("s", [setting("k")], tool_call_id="none")
    assert await store.settings.list("s") == []


async def test_a_wrong_setting_is_refused(
    store: SessionStore, session: Session
) -> None:
    for wrong in (setting(""), setting("k", secret=1), setting("k", setting_type=5), 5):
        given: Any = wrong
        with pytest.raises(InvalidArgument):
            await store.settings.store("s", [given])
    assert await store.settings.list("s") == []


# Secrets


async def test_a_secret_is_in_no_text_of_the_record(
    store: SessionStore, session: Session
) -> None:
    [stored] = await store.settings.store("s", [secret(value={"a": [SECRET]})])
    shown = [
        repr(stored),
        str(stored),
        f"{stored} {stored!r} {[stored]} {({'k': stored},)}",
        pretty_repr([stored]),
        repr(msgspec.structs.replace(stored, setting_name="renamed")),
    ]
    assert not any(SECRET in each for each in shown)
    assert all("the token" in each or "renamed" in each for each in shown)


async def test_a_secret_is_there_for_who_asks(
    store: SessionStore, session: Session
) -> None:
    await store.settings.store("s", [secret()])
    await store.settings.answer("s", {"token": SECRET})
    [found] = await store.settings.list("s")
    assert found.value == SECRET
    assert msgspec.structs.asdict(found)["value"] == SECRET


async def test_the_repr_shows_what_is_not_secret() -> None:
    assert "value='v'" in repr(setting("k", value="v"))
    # That nothing was given yet is no secret.
    assert "value=None" in repr(secret())


@pytest.mark.parametrize(
    "value",
    [
        {SECRET: float("nan")},
        {SECRET: {SECRET: 1, 2: SECRET}},
        f"{SECRET}\ud800",
        [SECRET, {SECRET}],
        SECRET * 100,
    ],
)
async def test_no_error_and_no_log_quotes_a_value(
    store_path: Any, caplog: pytest.LogCaptureFixture, value: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    async with SessionStore(store_path, StoreOptions(payload_bytes_max=200)) as store:
        await store.sessions.create(id="s")
        await store.settings.store("s", [secret()])
        for call in (
            store.settings.store("s", [secret(value=value)]),
            store.settings.answer("s", {"token": value}),
        ):
            with pytest.raises((PayloadInvalid, PayloadTooLarge)) as caught:
                await call
            text = "".join(traceback.format_exception(caught.value))
            assert SECRET not in f"{text} {caught.value!r} {caught.value.__context__!r}"
        assert len(await store.settings.pending("s")) == 1
    assert SECRET not in caplog.text
