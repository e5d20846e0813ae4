"""What ``encode`` takes and refuses; what it takes, it decodes to the same."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import sys
import uuid
from typing import Any

import pytest

from turnstore import (
    InvalidArgument,
    NewEvent,
    PayloadInvalid,
    PayloadTooLarge,
    SessionStore,
)
from turnstore.sql.codec import (
    check_free_text,
    check_id,
    check_integer,
    check_text,
    decode,
    encode,
    encode_or_none,
)

MIB = 1024 * 1024


def nested(depth: int, kinds: str) -> Any:
    """Return containers ``depth`` levels deep, lists and dicts by turns of kinds."""
    value: Any = [] if kinds[(depth - 1) % len(kinds)] == "l" else {}
    for level in range(depth - 1, 0, -1):
        is_list = kinds[(level - 1) % len(kinds)] == "l"
        value = [value] if is_list else {"k": value}
    return value


def same(left: Any, right: Any) -> bool:
    """Compare with types, signs of zero and order of keys told apart."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return list(left) == list(right) and all(
            same(left[key], right[key]) for key in left
        )
    return repr(left) == repr(right)


TAKEN: dict[str, Any] = {
    "null": None,
    "true": True,
    "false": False,
    "zero": 0,
    "negative zero": -0.0,
    "one as float": 1.0,
    "64 bits": 2**63 - 1,
    "beyond 64 bits": 2**64,
    "2**70": 2**70,
    "-2**70": -(2**70),
    "4300 digits": 10**4300 - 1,
    "-4300 digits": -(10**4300 - 1),
    "smallest float": 5e-324,
    "largest float": 1.7976931348623157e308,
    "0.1 + 0.2": 0.1 + 0.2,
    "empty text": "",
    "NUL": "a\x00b",
    "control": "\x01\x1f\x7f\u2028\u2029",
    "beyond the basic plane": "\U0001f600 \U0010ffff",
    "noncharacter": "\ufffe\uffff",
    "looks like JSON": '{"a": [1, null]} \\u0000 %s %d \' "',
    "many brackets": "[{" * 1_000,
    "empty list": [],
    "empty dict": {},
    "empty key": {"": ""},
    "NUL key": {"\x00": "\x00"},
    "order of keys": {"b": 1, "a": 2, "C": 3, "10": 4, "9": 5},
    "lone surrogate": "\ud800",
    "lone surrogates inside": ["a", "cut \ud83d", {"b": "\ude00\ud83d 😀"}],
    "lone surrogate in key": {"\udfff": {"\ud800": 1}},
    "lone surrogate beside many digits": ["\ud800", -(10**4300 - 1)],
    "null inside": {"a": None, "b": [None]},
    "200 lists": nested(200, "l"),
    "200 dicts": nested(200, "d"),
    "200 mixed": nested(200, "ld"),
    "200 wide": [nested(199, "dl")] * 5,
}


@pytest.mark.parametrize("value", TAKEN.values(), ids=TAKEN.keys())
def test_round_trip(value: Any) -> None:
    assert same(decode(encode(value, MIB)), value)


@pytest.mark.anyio
async def test_round_trip_through_a_file(store: SessionStore) -> None:
    await store.sessions.create(id="s")
    events = [NewEvent(type="t", data=value) for value in TAKEN.values()]
    await store.events.append_many("s", events)
    found = await store.events.list("s")
    wrong = [
        name
        for (name, value), event in zip(TAKEN.items(), found, strict=True)
        if not same(event.data, value)
    ]
    assert wrong == []


@dataclasses.dataclass
class Point:
    x: int


class Colour(enum.Enum):
    RED = "red"


REFUSED: dict[str, tuple[Any, str]] = {
    "NaN": (float("nan"), r"\$ is nan"),
    "Infinity": ([1, float("inf")], r"\$\[1\] is inf"),
    "-Infinity": ({"a": float("-inf")}, r"\$\.a is -inf"),
    "surrogates beside NaN": (["\ud800", float("nan")], r"\$\[1\] is nan"),
    "surrogates beside bytes": (["\ud800", b"a"], "bytes"),
    "surrogates beside an integer key": ({"a": "\ud800", 1: 2}, "key of type int"),
    "a pair of surrogates beside its character": (
        {"a": [{"\ud83d\ude00": 1, "😀": 2}]},
        r"\$\.a\[0\] has two keys that are the same text",
    ),
    "integer key": ({1: "a"}, "key of type int"),
    "boolean key": ({True: "a"}, "key of type bool"),
    "null key": ({None: "a"}, "key of type NoneType"),
    "float key": ({1.5: "a"}, "key of type float"),
    "bytes key": ({b"a": "a"}, "key of type bytes"),
    "same key twice once encoded": ({1: "a", "1": "b"}, "key of type int"),
    "bytes": (b"abc", "bytes"),
    "bytes inside a tuple": ((1, (b"abc",)), "bytes"),
    "datetime": (datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC), "datetime"),
    "date": (datetime.date(2020, 1, 1), "date"),
    "dataclass": (Point(1), "Point"),
    "enum": (Colour.RED, "Colour"),
    "set": ({1, 2}, "set"),
    "frozenset inside": ({"a": frozenset()}, r"\$\.a is of type frozenset"),
    "Decimal": (decimal.Decimal("1.5"), "Decimal"),
    "UUID": (uuid.UUID(int=1), "UUID"),
    "complex": (1j, "complex"),
    "object": (object(), "object"),
    "4301 digits": (10**4300, "4300 digits"),
    "-4301 digits": ([-(10**4300)], "4300 digits"),
    "201 lists": (nested(201, "l"), "200 levels"),
    "201 dicts": (nested(201, "d"), "200 levels"),
    "201 mixed": (nested(201, "dl"), "200 levels"),
    "100,000 lists": (nested(100_000, "l"), "200 levels"),
}


@pytest.mark.parametrize(("value", "fault"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(value: Any, fault: str) -> None:
    with pytest.raises(PayloadInvalid, match=fault):
        encode(value, MIB)


@pytest.mark.parametrize("digits_max", [0, 6_000, 4_300, 640])
def test_a_long_integer_is_refused_whatever_limit_the_program_has_set(
    digits_max: int,
) -> None:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(digits_max)
    try:
        for value in (10**4_300, [-(10**4_300)], {"a": 10**5_000}):
            with pytest.raises(PayloadInvalid, match="4300 digits"):
                encode(value, MIB)
        assert decode(encode(10**600, MIB)) == 10**600
        if digits_max != 640:
            long = 10**4_300 - 1
            assert decode(encode([long, -long, "x"], MIB)) == [long, -long, "x"]
    finally:
        sys.set_int_max_str_digits(before)


def test_a_payload_with_a_long_integer_is_looked_at_closely() -> None:
    long = -(10**4_300 - 1)
    for value in ([long, float("nan")], [long, {1: 2}], [long, b"x"]):
        with pytest.raises(PayloadInvalid):
            encode(value, MIB)
    assert decode(encode((long, (1,)), MIB)) == [long, [1]]


def test_a_list_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(PayloadInvalid, match="200 levels"):
        encode(value, MIB)


def test_tuples_count_as_lists() -> None:
    assert encode((1, ("a", {"b": (2,)})), MIB) == '[1,["a",{"b":[2]}]]'
    assert encode((), MIB) == "[]"


def test_tuples_count_as_levels() -> None:
    value: Any = ()
    for _ in range(199):
        value = (value,)
    assert encode(value, MIB).startswith("[" * 200)
    with pytest.raises(PayloadInvalid, match="200 levels"):
        encode((value,), MIB)


def test_refused_in_a_payload_whose_text_has_few_brackets() -> None:
    with pytest.raises(PayloadInvalid, match="set"):
        encode({"a": [1, {2, 3}]}, MIB)


@pytest.mark.parametrize("value", ["x" * 98, "é" * 49, "\x00" * 16 + "ab"])
def test_size_is_that_of_the_encoded_bytes(value: str) -> None:
    assert len(encode(value, 100).encode()) == 100
    with pytest.raises(PayloadTooLarge) as caught:
        encode(value, 99)
    assert (caught.value.size_bytes, caught.value.bytes_max) == (100, 99)
    assert "payload_bytes_max" in str(caught.value)


def test_none_is_kept_apart_from_null() -> None:
    assert encode_or_none(None, MIB) is None
    assert encode(None, MIB) == "null"
    assert encode_or_none({}, MIB) == "{}"


def test_free_text_keeps_nul_and_refuses_other_types() -> None:
    assert check_free_text("a\x00", "title") == "a\x00"
    for value in (None, 1, b"a", ["a"]):
        with pytest.raises(InvalidArgument, match="title must be text"):
            check_free_text(value, "title")


@pytest.mark.parametrize("value", ["a", "é" * 255, "x" * 255, " ", "\n", "'\"%_\\"])
def test_ids_taken(value: str) -> None:
    assert check_id(value, "id") == value


@pytest.mark.parametrize(
    "value", ["", "x" * 256, "a\x00", "\ud800", None, 1, b"a", ["a"]]
)
def test_ids_refused(value: Any) -> None:
    with pytest.raises(InvalidArgument, match="session_id"):
        check_id(value, "session_id")


@pytest.mark.parametrize("value", ["\x00", "a\udc00", 5, None])
def test_names_refused(value: Any) -> None:
    with pytest.raises(InvalidArgument, match="model"):
        check_text(value, "model")
    assert check_text("", "model") == ""


@pytest.mark.parametrize("value", [-1, 11, True, 1.0, "1", None])
def test_integers_refused(value: Any) -> None:
    with pytest.raises(InvalidArgument, match="limit"):
        check_integer(value, "limit", 0, 10)


@pytest.mark.parametrize("value", [0, 10])
def test_integers_at_the_bounds(value: int) -> None:
    assert check_integer(value, "limit", 0, 10) == value
    with pytest.raises(InvalidArgument):
        check_integer(2**63, "after", 0)
