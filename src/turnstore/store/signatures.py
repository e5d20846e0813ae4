"""Arguments that several methods share, defined once as a ``TypedDict``.

A method takes them as ``**fields: Unpack[MessageFields]``, which type checkers and
editors read; ``takes`` has ``help`` and ``inspect.signature`` show them as well.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import Any, TypeVar

from msgspec import UNSET

F = TypeVar("F", bound=Callable[..., Any])


def takes(
    fields: type, defaults: Mapping[str, object] | None = None
) -> Callable[[F], F]:
    """Show each of ``fields`` in the signature of a method that takes them.

    :param fields: a ``TypedDict``.
    :param defaults: what a field is when it is not given; UNSET for each if None.
    """

    def show(method: F) -> F:
        signature = inspect.signature(method)
        own = [
            each
            for each in signature.parameters.values()
            if each.kind is not Parameter.VAR_KEYWORD
        ]
        shared = [
            Parameter(
                name,
                Parameter.KEYWORD_ONLY,
                default=UNSET if defaults is None else defaults.get(name),
                # As text, as the others are.
                annotation=getattr(hint, "__forward_arg__", hint),
            )
            for name, hint in fields.__annotations__.items()
        ]
        shown = signature.replace(parameters=[*own, *shared])
        method.__signature__ = shown  # type: ignore[attr-defined]
        return method

    return show


def given(fields: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """Return the fields that are not UNSET.

    :raises TypeError: ``kind``, a ``TypedDict``, has no such field.
    """
    known: frozenset[str] = kind.__optional_keys__  # type: ignore[attr-defined]
    if not fields.keys() <= known:
        unknown = ", ".join(sorted(fields.keys() - known))
        raise TypeError(f"unexpected keyword argument {unknown}")
    return {name: value for name, value in fields.items() if value is not UNSET}
