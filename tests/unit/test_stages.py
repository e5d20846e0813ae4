"""How a batch is grouped: in bulk by kind, in order by session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine

from turnstore.backends._sqlite_library import library
from turnstore.backends.base import Command, apply_together, stages


class Traced(Command[str]):
    place: int

    @classmethod
    def trace(cls, connection: Connection, commands: Sequence[Traced]) -> list[str]:
        connection.info.setdefault("calls", []).append((cls, list(commands)))
        return [f"{cls.__name__}{command.place}" for command in commands]


class A(Traced):
    @staticmethod
    def apply(connection: Connection, commands: Sequence[A]) -> list[Any]:
        return [*A.trace(connection, commands)]


class B(Traced):
    @staticmethod
    def apply(connection: Connection, commands: Sequence[B]) -> list[Any]:
        return [*B.trace(connection, commands)]


class C(Traced):
    @staticmethod
    def apply(connection: Connection, commands: Sequence[C]) -> list[Any]:
        return [*C.trace(connection, commands)]


def batch(text: str) -> list[Traced]:
    """Make commands from text like ``"Ax Bx"``: kind and session."""
    kinds = {"A": A, "B": B, "C": C}
    return [kinds[word[0]](word[1:], 0, at) for at, word in enumerate(text.split())]


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


def test_a_new_stage_takes_what_comes_later() -> None:
    assert shape("Ax Bx Ax Ay") == [("A", [0]), ("B", [1]), ("A", [2, 3])]


words = st.tuples(st.sampled_from("ABC"), st.sampled_from("xyz")).map("".join)


@given(st.lists(words, min_size=1, max_size=30).map(" ".join))
def test_any_batch_keeps_the_order_of_each_session(text: str) -> None:
    commands = batch(text)
    found = stages(commands)
    applied = [at for _, places in found for at in places]
    assert sorted(applied) == list(range(len(commands)))
    for session in "xyz":
        ours = [at for at in applied if commands[at].session_id == session]
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
