"""How a batch is grouped: in bulk by kind, in order by session."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine

from turnstore.engine.commands import Command, apply_together, stages
from turnstore.engine.sqlite.library import library


class Traced(Command[str], frozen=True):
    place: int
    others: str = ""

    @property
    def session_ids(self) -> Collection[str]:
        return {self.session_id, *self.others}

    @classmethod
    def trace(cls, connection: Connection, commands: Sequence[Traced]) -> list[str]:
        connection.info.setdefault("calls", []).append((cls, list(commands)))
        return [f"{cls.__name__}{command.place}" for command in commands]


class A(Traced, frozen=True):
    @staticmethod
    def apply(connection: Connection, commands: Sequence[A]) -> list[Any]:
        return [*A.trace(connection, commands)]


class B(Traced, frozen=True):
    @staticmethod
    def apply(connection: Connection, commands: Sequence[B]) -> list[Any]:
        return [*B.trace(connection, commands)]


class C(Traced, frozen=True):
    @staticmethod
    def apply(connection: Connection, commands: Sequence[C]) -> list[Any]:
        return [*C.trace(connection, commands)]


def batch(text: str) -> list[Traced]:
    """Make commands from text like ``"Ax Bxy"``: kind and sessions."""
    kinds = {"A": A, "B": B, "C": C}
    return [
        kinds[word[0]](word[1], 0, at, word[2:]) for at, word in enumerate(text.split())
    ]


def shape(text: str) -> list[tuple[str, list[int]]]:
    return [(kind.__name__, places) for kind, places in stages(batch(text))]


def test_one_kind_is_one_stage() -> None:
    assert shape("Ax Ay Ax") == [("A", [0, 1, 2])]


def test_kinds_of_different_sessions_go_in_bulk() -> None:
    assert shape("Ax By Az Bw Au") == [("A", [0, 2, 4]), ("B", [1, 3])]


def test_a_session_keeps_its_order() -> None:
    assert shape("Ax Bx Ax") == [("A", [0]), ("B", [1]), ("A", [2])]


def test_only_the_session_that_must_opens_a_stage() -> None:
    assert shape("Ax Bx Ay Ax By") == [("A", [0, 2]), ("B", [1, 4]), ("A", [3])]


def test_a_command_joins_the_first_stage_it_can() -> None:
    assert shape("Ax Bx Ax Ay") == [("A", [0, 3]), ("B", [1]), ("A", [2])]


def test_a_pattern_that_many_sessions_repeat_takes_as_many_stages_as_it_has() -> None:
    turns = " ".join(" ".join(f"{kind}{name}" for kind in "ABAB") for name in "uvwxyz")
    assert [kind for kind, _ in shape(turns)] == ["A", "B", "A", "B"]


def test_a_command_of_several_sessions_keeps_its_place_in_each() -> None:
    assert shape("Ax By Cxy Ay Bx") == [
        ("A", [0]),
        ("B", [1]),
        ("C", [2]),
        ("A", [3]),
        ("B", [4]),
    ]


def test_a_command_does_not_pass_one_that_has_its_session_second() -> None:
    assert shape("Cz Axz Cz") == [("C", [0]), ("A", [1]), ("C", [2])]


words = st.tuples(
    st.sampled_from("ABC"), st.sampled_from(["x", "y", "z", "xy", "yz", "zx"])
).map("".join)


@given(st.lists(words, min_size=1, max_size=30).map(" ".join))
def test_any_batch_keeps_the_order_of_each_session(text: str) -> None:
    commands = batch(text)
    found = stages(commands)
    applied = [at for _, places in found for at in places]
    assert sorted(applied) == list(range(len(commands)))
    for session in "xyz":
        ours = [at for at in applied if session in commands[at].session_ids]
        assert ours == sorted(ours)
    for kind, places in found:
        assert {type(commands[at]) for at in places} == {kind}


@given(st.lists(words, min_size=1, max_size=30).map(" ".join))
def test_each_command_gets_its_own_outcome(text: str) -> None:
    commands = batch(text)
    engine = create_engine("sqlite://", module=library().module)
    with engine.connect() as connection:
        outcomes = apply_together(connection, commands)
        calls = connection.info.pop("calls")
    engine.dispose()
    expected = [f"{type(command).__name__}{command.place}" for command in commands]
    assert outcomes == expected
    assert len(calls) == len(stages(commands))
