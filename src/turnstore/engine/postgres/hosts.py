"""A URL's hosts, and which of them a store may use.

What the URL holds besides (user, password, files) is the driver's to read. Nothing of
a URL is shown in an error: a password with a character that should be written as a %
escape may turn up in any part of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from enum import Enum
from typing import Final, NamedTuple
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from turnstore.errors import InvalidArgument

_OPTIONS: Final = frozenset(
    (
        "application_name",
        "dbname",
        "host",
        "passfile",
        "password",
        "port",
        "sslcert",
        "sslcrl",
        "sslkey",
        "sslmode",
        "sslrootcert",
        "target_session_attrs",
        "user",
    )
)
_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_SSL_MODES: Final = (
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
)
_ANY: Final = "SELECT"
_STANDBY: Final = "SELECT WHERE pg_is_in_recovery()"
_PRIMARY: Final = "SELECT WHERE NOT pg_is_in_recovery()"
# A standby's transactions are read-only whatever it is set to.
_READ_ONLY: Final = "SELECT WHERE current_setting('transaction_read_only')::bool"
_READ_WRITE: Final = "SELECT WHERE NOT current_setting('transaction_read_only')::bool"
_BY_ATTRIBUTE: Final[dict[str, tuple[str, ...]]] = {
    "any": (_ANY,),
    "primary": (_PRIMARY,),
    "read-write": (_READ_WRITE,),
    "standby": (_STANDBY,),
    "read-only": (_READ_ONLY,),
    "prefer-standby": (_STANDBY, _ANY),
}


class Purpose(Enum):
    """What connections are for: which servers will do, the first where the URL does
    not say."""

    WRITING = ("primary", "read-write")
    READING = ("any", "primary", "read-write", "standby", "read-only", "prefer-standby")
    # A primary that is taken all the same is told by what it says, and not read.
    REPLICA = ("standby", "read-only", "prefer-standby", "any")


MISSING: Final = {
    Purpose.WRITING: "no host of the URL is a primary, as a store that writes needs: "
    "open it with read_only=True to read a standby",
    Purpose.READING: "no host of the URL is what its target_session_attrs ask for",
    Purpose.REPLICA: "no host of read_url is a standby",
}
"""What to say where no host is what is wanted."""


class Host(NamedTuple):
    """None: as the driver finds it in the environment."""

    name: str | None
    port: int | None


class Hosts:
    """:raises InvalidArgument: the URL does not parse, has an option that there is not,
    or asks for servers of a kind that is of no use for the purpose."""

    def __init__(self, url: str, purpose: Purpose) -> None:
        self.purpose = purpose
        options: dict[str, list[str]] = {}
        try:
            _check_text(url)
            parts = urlsplit(url)
            if parts.fragment or "#" in url:
                raise ValueError
            if parts.query:
                options = parse_qs(
                    parts.query, strict_parsing=True, keep_blank_values=True
                )
            asked = {name: values[-1] for name, values in options.items()}
            self._hosts = _parse(
                parts.netloc, asked.get("host", ""), asked.get("port", "")
            )
        except ValueError:
            raise InvalidArgument(
                "the URL does not parse: write postgresql://user@host:5432/database, "
                "several hosts with commas between, and % escapes for what has "
                "another meaning in a URL (%23 for #)"
            ) from None
        _check_once(parts, options)
        self.database = unquote(parts.path[1:]) or asked.get("dbname")
        """None: as the driver finds it in the environment."""
        self.application_name = asked.get("application_name", "turnstore")
        self._files = [asked[name] for name in _FILES if name in asked]
        unknown = sorted(asked.keys() - _OPTIONS)
        if unknown:
            shown = [each if each.isidentifier() else "..." for each in unknown]
            raise InvalidArgument(
                f"unknown options in the URL: {', '.join(shown)}; there are "
                f"{', '.join(sorted(_OPTIONS))}"
            )
        if asked.get("sslmode", "prefer") not in _SSL_MODES:
            raise InvalidArgument(f"sslmode must be one of {', '.join(_SSL_MODES)}")
        attribute = asked.get("target_session_attrs", purpose.value[0])
        if attribute not in purpose.value:
            raise InvalidArgument(
                f"target_session_attrs must be one of {', '.join(purpose.value)} for "
                f"{purpose.name.lower()}"
            )
        self.wanted = _BY_ATTRIBUTE[attribute]
        """Statements that give one row where a server will do; if none does by the
        first, the next one counts."""

    def missing_file(self) -> str | None:
        """Return a file for TLS that the URL names and that can't be read."""
        return next(
            (each for each in self._files if not os.access(each, os.R_OK)), None
        )

    def __len__(self) -> int:
        return len(self._hosts)

    def in_order(self) -> Iterator[Host]:
        """The one that served last, then as the URL has them."""
        return iter(tuple(self._hosts))

    def prefer(self, host: Host) -> None:
        self._hosts.remove(host)
        self._hosts.insert(0, host)


def _check_once(parts: SplitResult, options: dict[str, list[str]]) -> None:
    """:raises InvalidArgument: something is said twice, or an option says nothing."""
    login, at, place = parts.netloc.rpartition("@")
    user, colon, _ = login.partition(":")
    said = {
        "dbname": parts.path not in ("", "/"),
        "host": bool(place),
        "user": bool(at and user),
        "password": bool(colon),
    }
    for name, values in options.items():
        if len(values) > 1 or (said.get(name) and values):
            told = name if name in _OPTIONS else "an option"
            raise InvalidArgument(f"the URL says {told} twice: leave one of them out")
        if name in said and not values[0]:
            raise InvalidArgument(f"the option {name} of the URL is empty")
    if parts.query and parts.path == "/" and "dbname" not in options:
        raise InvalidArgument(
            "the URL names no database: write it before the options, "
            "postgresql://user@host/database?option=value"
        )


def _check_text(url: str) -> None:
    """:raises ValueError: not such a URL, or decoded it is no text for a server."""
    decoded = unquote(url, errors="strict")
    decoded.encode()
    if not url.startswith("postgresql://") or "\x00" in decoded:
        raise ValueError


def _parse(netloc: str, names: str, ports: str) -> list[Host]:
    """:raises ValueError: a port is no number, or a host has no name, or one that none
    can have."""
    login, at, _ = netloc.rpartition("@")
    if "@" in login:
        raise ValueError
    numbers = [_port(each) for each in ports.split(",")] if ports else [None]
    specs = (netloc[len(login + at) :] or names).split(",")
    if specs == [""]:
        specs = [""] * len(numbers)
    elif len(numbers) == 1:
        numbers *= len(specs)
    found = [_host(spec, number) for spec, number in zip(specs, numbers, strict=True)]
    if len(found) > 1 and not all(each.name for each in found):
        raise ValueError
    return found


def _host(spec: str, port: int | None) -> Host:
    if spec.startswith("["):
        name, bracket, rest = spec[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError
        own_port = rest[1:]
    elif spec.startswith("/"):  # the folder of a socket
        name, own_port = spec, ""
    else:
        name, _, own_port = spec.partition(":")
    name = unquote(name)
    if not name.startswith("/"):
        name.encode("idna")  # as whoever looks up its address does
    return Host(name or None, _port(own_port) if own_port else port)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65_536:
        raise ValueError
    return int(text)
