"""Splitting text into JSON values, whatever its lines are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnstore.transfer.chat.formats import is_message
from turnstore.transfer.chat.values import Values

MESSAGE = {"role": "user", "content": "x"}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ['"', "\\", "\\\\", '\\"', "{", "}]", "\n", "[\n{", ",", "\u2028"]
)
OBJECTS = st.dictionaries(
    TEXTS,
    st.recursive(
        st.none() | st.booleans() | st.integers() | TEXTS,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)
        ),
        max_leaves=8,
    ),
    max_size=4,
)


def split(text: str | bytes, chunk: int = 7, bytes_max: int = 10_000) -> list[Any]:
    """Return the values of a text that comes in chunks: the line and the value, or
    the line and the reason why there is none."""
    data = text if isinstance(text, bytes) else text.encode()
    chunks = iter([data[at : at + chunk] for at in range(0, len(data), chunk)])
    values = Values(
        lambda: next(chunks, b""), bytes_max, lambda each: is_message(json.loads(each))
    )
    found: list[Any] = []
    while (value := values.next()) is not None:
        values.forget()
        given = value.reason if value.data is None else json.loads(value.data)
        found.append((value.line, given))
    assert values.done_bytes == len(data)
    return found


def read(text: str, **options: int) -> list[Any]:
    return [value for _, value in split(text, **options)]


@given(
    values=st.lists(OBJECTS, max_size=5),
    indents=st.lists(st.sampled_from([None, 0, 1, 2, "\t"]), min_size=5, max_size=5),
    between=st.sampled_from(["\n", "", " ", "\r\n", "\n\n\n", ",\n"]),
    chunk=st.integers(1, 40),
    is_ascii=st.booleans(),
)
def test_any_values_come_back(
    values: list[Any], indents: list[Any], between: str, chunk: int, is_ascii: bool
) -> None:
    texts = [
        json.dumps(value, indent=indent, ensure_ascii=is_ascii)
        for value, indent in zip(values, indents, strict=False)
    ]
    if between != ",\n":
        assert read(between.join(texts), chunk=chunk) == values
    for indent in indents:
        listed = json.dumps(values, indent=indent, ensure_ascii=is_ascii)
        assert read(listed, chunk=chunk) == (values or [[]])
    space = between.replace(",", " ")
    listed = f"[{space}{f'{space},{space}'.join(texts)}{space}]"
    assert read(listed, chunk=chunk) == (values or [[]])


@pytest.mark.parametrize("indent", [None, 0, 2])
def test_a_list_of_messages_is_one_value(indent: int | None) -> None:
    text = json.dumps([MESSAGE, MESSAGE], indent=indent)
    assert read(text) == [[MESSAGE, MESSAGE]]
    assert read(text + "\n" + text) == [[MESSAGE, MESSAGE]] * 2
    assert read(json.dumps([[MESSAGE], [MESSAGE]], indent=indent)) == [[MESSAGE]] * 2


def test_each_value_has_the_line_where_it_begins() -> None:
    text = '\n{"a": 1}\n[\n {"b":\n 2},\n\n {"c": 3}]\n{"d": 4} {"e": 5}\n'
    assert split(text) == [
        (2, {"a": 1}),
        (4, {"b": 2}),
        (7, {"c": 3}),
        (8, {"d": 4}),
        (8, {"e": 5}),
    ]


GOOD = {"messages": [MESSAGE]}
LINE = json.dumps(GOOD)


@pytest.mark.parametrize("chunk", [1, 3, 1_000])
@pytest.mark.parametrize("at", range(1, len(LINE)))
def test_a_line_that_is_cut_takes_no_other_with_it(at: int, chunk: int) -> None:
    found = split(f"{LINE}\n{LINE[:at]}\n{LINE}\n{LINE}\n{LINE[:at]}", chunk)
    assert [line for line, value in found if value == GOOD] == [1, 3, 4]
    assert [line for line, value in found if isinstance(value, str)] == [2, 5]


@pytest.mark.parametrize("indent", [1, 4])
def test_a_value_over_many_lines_that_is_broken_is_one_problem(indent: int) -> None:
    whole = json.dumps({"messages": [MESSAGE] * 50}, indent=indent)
    lines = whole.split("\n")
    for broken in (
        "\n".join(lines[:-4]),
        whole.replace("]", "}"),
        whole.replace('"user"', '"user', 1),
    ):
        found = split(f"{broken}\n{whole}\n{LINE}")
        assert [type(value) for _, value in found] == [str, dict, dict]
        assert (found[0][0], found[2][1]) == (1, GOOD)


def test_an_element_that_is_broken_leaves_the_others() -> None:
    text = "\n".join(
        [
            "[",
            f"  {LINE},",
            '  {"messages": [}]},',
            f"  {LINE},",
            "  {",
            f"  {LINE}",
            "]",
        ]
    )
    found = split(text)
    assert [line for line, value in found if value == GOOD] == [2, 4, 6]
    assert [line for line, value in found if value != GOOD] == [3, 5]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("text", "neither an object nor a list"),
        ("5", "neither an object nor a list"),
        ('"a"', "neither an object nor a list"),
        ("}", "neither an object nor a list"),
        ("{", "ends within a value"),
        ("[", "ends within a value"),
        ('[{"a": 1}', "the list is not closed"),
        ('{"a": "b', "ends within a value"),
        ('{"a": "b\n', "a text has no end"),
        ("[" * 1_000, "over 256 levels"),
        ('{"a":' * 1_000, "over 256 levels"),
        ('{"a": "' + "x" * 20_000 + '"}', "more than 10000 bytes"),
        ('{"a": "' + "x" * 20_000, "more than 10000 bytes"),
        ('{"a": [' + '"x",\n ' * 5_000 + '"x"]}', "more than 10000 bytes"),
    ],
    ids=lambda each: each[:12],
)
@pytest.mark.parametrize("chunk", [5, 100_000])
def test_what_is_no_value_is_told_once_and_the_next_one_is_read(
    text: str, reason: str, chunk: int
) -> None:
    *_, (_, told) = split(text, chunk)
    assert reason in told
    found = split(f"{text}\n{LINE}", chunk)
    is_list = text in ("[", '[{"a": 1}')  # which is told at its end
    assert [value for _, value in found][-2 if is_list else -1] == GOOD
    assert sum(isinstance(value, str) for _, value in found) == 1


def test_the_buffer_stays_small() -> None:
    """Whatever is read past: a text, space, or what is left out."""
    pieces = [b'{"a": "', *[b"x" * 1_000] * 1_000, b'"}', *[b" " * 1_000] * 1_000]
    largest = 0
    chunks = iter(pieces)

    def following() -> bytes:
        nonlocal largest
        largest = max(largest, len(values._buffer))
        return next(chunks, b"")

    values = Values(following, 5_000, lambda _: False)
    while values.next() is not None:
        values.forget()
    assert largest < 20_000
