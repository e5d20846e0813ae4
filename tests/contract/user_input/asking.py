"""Questions and settings alike: what is asked, by its name and its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from turnstore import Question, Setting

MADE: Final[dict[str, Callable[..., Any]]] = {
    "questions": lambda name, **fields: Question(
        question_id=name, question="why?", **fields
    ),
    "settings": lambda name, **fields: Setting(
        setting_key=name, setting_name="Name", **fields
    ),
}

each_room = pytest.mark.parametrize("room", MADE)


def ids(several: list[Any]) -> list[str]:
    """Names of questions or of settings."""
    return [getattr(each, each.__struct_fields__[0]) for each in several]


def values(several: list[Any]) -> list[Any]:
    """What was answered, of questions or of settings."""
    return [
        each.answer if isinstance(each, Question) else each.value for each in several
    ]
