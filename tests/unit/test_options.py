"""Every option at its bounds, past them, and of the wrong type."""

from __future__ import annotations

from typing import Any

import pytest

from turnstore import InvalidArgument, SessionStore, StoreOptions

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

BOUNDS: dict[str, tuple[float, float]] = {
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
CHOICES: dict[str, tuple[Any, ...]] = {
    "durability": (None, "normal", "full"),
    "migrate": (None, "auto", "check"),
    "read_only": (False, True),
    "behind_pooler": (None, False, True),
}


def made(name: str, value: Any) -> StoreOptions:
    return StoreOptions(**{name: value})


def test_every_option_is_tested_here() -> None:
    assert set(StoreOptions.__struct_fields__) == {*BOUNDS, *CHOICES, "read_url"}


def test_the_documented_defaults() -> None:
    options = StoreOptions()
    assert options.readers == 2
    assert options.lanes == 4
    assert options.answer_timeout_s == 30
    assert options.behind_pooler is None
    assert options.durability is None
    assert options.busy_timeout_s == 5.0
    assert options.queue_commands_max == 10_000
    assert options.queue_timeout_s == 30
    assert options.batch_commands_max == 2_048
    assert options.payload_bytes_max == 16 * MIB
    assert options.migrate is None
    assert options.read_only is False
    assert options.poll_interval_s == 0.1
    assert options.read_url is None
    assert options.replica_wait_s == 0.5


@pytest.mark.parametrize("name", BOUNDS)
def test_at_the_bounds(name: str) -> None:
    for bound in BOUNDS[name]:
        assert getattr(made(name, bound), name) == bound


@pytest.mark.parametrize("name", BOUNDS)
def test_past_the_bounds(name: str) -> None:
    low, high = BOUNDS[name]
    step = 0.000_1 if name.endswith("_s") else 1
    for value in (low - step, high + step, float("nan"), float("inf"), -1):
        with pytest.raises(ValueError, match=name):
            made(name, value)


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("value", ["2", None, True, [2], b"2"], ids=repr)
def test_a_number_of_the_wrong_type(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        made(name, value)


@pytest.mark.parametrize("name", [each for each in BOUNDS if each[-2:] != "_s"])
def test_a_count_is_an_integer(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        made(name, float(BOUNDS[name][1]))


@pytest.mark.parametrize("name", CHOICES)
def test_choices(name: str) -> None:
    for choice in CHOICES[name]:
        assert getattr(made(name, choice), name) == choice
    for value in ("FULL", "", 0, 1, b"auto", ["auto"]):
        with pytest.raises(ValueError, match=name):
            made(name, value)


def test_options_do_not_change() -> None:
    options = StoreOptions()
    with pytest.raises(AttributeError):
        options.readers = 3  # type: ignore[misc]
    assert options == StoreOptions()
    assert hash(options) == hash(StoreOptions())


def test_options_are_given_by_name() -> None:
    with pytest.raises(TypeError):
        StoreOptions(3)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        StoreOptions(reader=3)  # type: ignore[call-arg]


SECRET = "postgresql://user:secret@replica/db?password=secret"


@pytest.mark.parametrize(
    "value",
    ["", "replica", "mysql://u:secret@h/d", "sqlite:///secret", b"secret", 1, True],
    ids=repr,
)
def test_a_read_url_that_is_none_is_refused_and_not_shown(value: Any) -> None:
    with pytest.raises(ValueError, match="read_url must be a postgresql:// URL") as got:
        made("read_url", value)
    assert "secret" not in str(got.value)


def test_a_read_url_is_never_shown() -> None:
    options = StoreOptions(read_url=SECRET)
    assert options.read_url == SECRET
    assert "secret" not in repr(options)
    assert "secret" not in f"{options}"
    assert "secret" not in repr(options.__rich_repr__())
    assert "read_url='***'" in repr(options)
    assert eval(repr(StoreOptions())) == StoreOptions()


def test_sqlite_has_no_replicas() -> None:
    with pytest.raises(InvalidArgument, match="SQLite has no replicas") as got:
        SessionStore("sqlite://", StoreOptions(read_url=SECRET))
    assert "secret" not in str(got.value)


def test_of_a_url_that_is_refused_only_the_scheme_is_shown() -> None:
    with pytest.raises(InvalidArgument, match="mysql:") as got:
        SessionStore("mysql://user:secret@host/db")
    assert "secret" not in str(got.value)
