"""``store.questions``: what agents ask the user, and the answers."""

from __future__ import annotations

from typing import ClassVar

from turnstore.errors import PayloadInvalid
from turnstore.records import Question
from turnstore.sql import codec
from turnstore.sql.compiled import Value
from turnstore.sql.schema import questions
from turnstore.store.user_input.base import InputTable, UserInput
from turnstore.values import is_a


class Questions(UserInput[Question]):
    """The questions of every session. Reach it as ``store.questions``.

    ``default``, ``options`` (a list) and answers are JSON, ``question`` and
    ``description`` text, each at most ``payload_bytes_max`` bytes encoded.

    ``SessionStore`` says what holds for every call: cancellation, further errors.
    """

    form: ClassVar[InputTable[Question]] = InputTable(
        Question,
        questions,
        name=questions.c.question_id,
        value=questions.c.answer,
    )

    def _values(self, given: Question) -> dict[str, Value]:
        if given.options is not None and not is_a(given.options, (list, tuple)):
            raise PayloadInvalid("options must be a list")
        return {
            "question_id": codec.check_id(given.question_id, "question_id"),
            "question": self._text(given.question, "question"),
            "description": self._text_or_none(given.description, "description"),
            "response_type": codec.check_text(given.response_type, "response_type"),
            "default": self._json(given.default),
            "options": self._json(given.options),
            "answer": self._encode(given.answer, given.question_id),
        }
