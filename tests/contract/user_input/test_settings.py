"""``store.settings``: what holds of settings alone, and that secrets stay secret."""

from __future__ import annotations

import logging
import traceback
from typing import Any, Final

import msgspec
import pytest
from rich.pretty import pretty_repr

from tests.contract.user_input.asking import MADE, ids, values
from tests.contract.ways import OpenStore
from turnstore import (
    InvalidArgument,
    PayloadInvalid,
    PayloadTooLarge,
    Session,
    SessionStore,
    Setting,
)

SECRET: Final = "hunter2"
setting: Final = MADE["settings"]


def secret(**fields: Any) -> Any:
    return setting("token", secret=True, **fields)


async def test_a_setting_is_of_text_and_no_secret_by_default(
    store: SessionStore, session: Session
) -> None:
    given = Setting(setting_key="k", setting_name="K")
    [stored] = await store.settings.store("s", [given])
    assert (stored.setting_type, stored.secret) == ("text", False)
    assert (stored.value, stored.answered_at) == (None, None)


async def test_a_setting_may_come_with_its_value(
    store: SessionStore, session: Session
) -> None:
    [stored] = await store.settings.store("s", [setting("k", value=[1])])
    assert stored.created_at == stored.answered_at is not None
    assert await store.settings.pending("s") == []
    assert values(await store.settings.list("s")) == [[1]]


async def test_questions_and_settings_are_apart(
    store: SessionStore, session: Session
) -> None:
    await store.settings.store("s", [setting("k")])
    assert await store.questions.list("s") == []
    assert await store.questions.answer("s", {"k": 1}) == 0
    assert ids(await store.settings.pending("s")) == ["k"]


@pytest.mark.parametrize(
    "wrong",
    [setting("k", secret=1), setting("k", setting_type=5), setting("k", value={1}), 5],
    ids=range(4),
)
async def test_one_wrong_setting_refuses_all_of_its_call(
    store: SessionStore, session: Session, wrong: Any
) -> None:
    with pytest.raises((InvalidArgument, PayloadInvalid)):
        await store.settings.store("s", [setting("good"), wrong])
    assert await store.settings.list("s") == []


# Secrets


async def test_a_secret_value_is_read_and_not_shown(
    store: SessionStore, session: Session
) -> None:
    await store.settings.store("s", [secret()])
    await store.settings.answer("s", {"token": {"password": [SECRET]}})
    [found] = await store.settings.list("s")
    assert found.value == {"password": [SECRET]}
    assert msgspec.structs.asdict(found)["value"] == found.value
    shown = [
        repr(found),
        str(found),
        f"{found} {found!r} {[found]} {({'k': found},)}",
        pretty_repr([found]),
        repr(msgspec.structs.replace(found, setting_name="renamed")),
    ]
    assert not any(SECRET in each for each in shown)
    assert all("Name" in each or "renamed" in each for each in shown)


async def test_a_secret_value_that_comes_with_its_setting_is_not_shown(
    store: SessionStore, session: Session
) -> None:
    [stored] = await store.settings.store("s", [secret(value={"a": [SECRET]})])
    assert stored.value == {"a": [SECRET]}
    assert SECRET not in f"{stored} {stored!r} {pretty_repr([stored])}"


def test_what_is_no_secret_is_shown() -> None:
    assert "value='v'" in repr(setting("k", value="v"))
    # That nothing was given yet is no secret.
    assert "value=None" in repr(secret())


async def test_a_secret_value_is_in_no_log(
    open_store: OpenStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    store = await open_store()
    await store.sessions.create(id="s")
    await store.settings.store("s", [secret(value=SECRET)])
    await store.settings.answer("s", {"token": SECRET + SECRET})
    assert values(await store.settings.list("s")) == [SECRET + SECRET]
    logging.getLogger("turnstore").debug("this is logged")
    assert "this is logged" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [
        [SECRET, {SECRET}],
        {SECRET: float("nan")},
        {SECRET: {SECRET: 1, 2: SECRET}},
        SECRET * 100,
    ],
    ids=range(4),
)
async def test_a_refused_secret_value_is_in_no_error_and_no_log(
    open_store: OpenStore, caplog: pytest.LogCaptureFixture, wrong: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    store = await open_store(payload_bytes_max=200)
    await store.sessions.create(id="s")
    await store.settings.store("s", [secret()])
    for call in (
        store.settings.store("s", [secret(value=wrong)]),
        store.settings.answer("s", {"token": wrong}),
    ):
        with pytest.raises((PayloadInvalid, PayloadTooLarge)) as caught:
            await call
        text = "".join(traceback.format_exception(caught.value))
        assert SECRET not in f"{text} {caught.value!r} {caught.value.__context__!r}"
    assert ids(await store.settings.pending("s")) == ["token"]
    assert SECRET not in caplog.text
