"""Long JSON decoded in fragments: the same values as decoded whole."""

from __future__ import annotations

import json
import random
from typing import Any, Final

import msgspec
import pytest

from turnstore.sql import fragments
from turnstore.sql.fragments import decode_elements

TEXTS: Final = [
    "", "a,b", '[{"\\', '\\"', '"]', "é😀\n" * 3, "\uffff", ":,{}[]", "\\" * 5,
]  # fmt: skip
KEYS: Final = ["", "a", "b,", "[", '"', "}", *"cdefghij"]


def value(rnd: random.Random, depth: int = 0) -> Any:
    kind = rnd.random()
    if depth > 6 or kind < 0.35:
        return rnd.choice([1, None, True, -2.5, 10**25, *TEXTS])
    count = rnd.randint(0, 6)
    if kind < 0.65:
        return [value(rnd, depth + 1) for _ in range(count)]
    return {rnd.choice(KEYS): value(rnd, depth + 1) for _ in range(count)}


@pytest.mark.parametrize("seed", range(20))
def test_fragments_have_the_values_of_the_whole(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rnd = random.Random(seed)
    for _ in range(40):
        monkeypatch.setattr(fragments, "FRAGMENT_BYTES", rnd.choice([2, 3, 5, 20, 64]))
        given = [value(rnd) for _ in range(rnd.randint(1, 4))]
        text = json.dumps(
            given,
            ensure_ascii=rnd.random() < 0.5,
            separators=rnd.choice([(",", ":"), (", ", ": ")]),
        )
        found = decode_elements(text[1:-1].encode())
        # As text, as the order of keys counts too.
        assert json.dumps(found) == json.dumps(given)


def test_a_key_that_comes_twice_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fragments, "FRAGMENT_BYTES", 4)
    text = b'{"a":1,"b":2,"a":[1,2,3,4,5],"b":9,"a":[7,8,9,10],"c":1}'
    assert decode_elements(text) == [msgspec.json.decode(text)]


@pytest.mark.parametrize(
    "text",
    [
        b"[1,2,3",
        b"1,2]]]],3",
        b'{"a":1,"b',
        b'"a,b,c,d',
        b"{1:2,3:4,5:6}",
        b"1,,2",
        b"1,2,",
    ],
)
def test_what_is_no_json_raises_what_the_whole_raises(
    text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(msgspec.DecodeError) as whole:
        decode_elements(text)
    monkeypatch.setattr(fragments, "FRAGMENT_BYTES", 2)
    with pytest.raises(msgspec.DecodeError) as in_fragments:
        decode_elements(text)
    assert str(in_fragments.value) == str(whole.value)
