"""``store.settings``: what agents need from the user to be set, and the values."""

from __future__ import annotations

from typing import ClassVar

from turnstore.errors import PayloadInvalid
from turnstore.records import Json, Setting
from turnstore.sql import codec
from turnstore.sql.compiled import Value
from turnstore.sql.schema import settings
from turnstore.store.user_input.base import InputTable, UserInput
from turnstore.values import shown


class Settings(UserInput[Setting]):
    """The settings of every session. Reach it as ``store.settings``.

    Values are JSON, ``setting_name`` and ``description`` text, each at most
    ``payload_bytes_max`` bytes encoded. No error quotes a value, as it may be secret.

    ``SessionStore`` says what holds for every call: cancellation, further errors.
    """

    form: ClassVar[InputTable[Setting]] = InputTable(
        Setting,
        settings,
        name=settings.c.setting_key,
        value=settings.c.value,
    )

    def _values(self, given: Setting) -> dict[str, Value]:
        return {
            "setting_key": codec.check_id(given.setting_key, "setting_key"),
            "setting_name": self._text(given.setting_name, "setting_name"),
            "description": self._text_or_none(given.description, "description"),
            "setting_type": codec.check_text(given.setting_type, "setting_type"),
            "value": self._encode(given.value, given.setting_key),
            "secret": int(codec.check_flag(given.secret, "secret")),
        }

    def _encode(self, value: Json, name: str) -> str | None:
        try:
            return super()._encode(value, name)
        except PayloadInvalid:
            pass
        # Raised out here, so that what was found wrong is not its context either.
        raise PayloadInvalid(f"the value of setting {shown(name)} is not JSON")
