"""What a URL says of hosts, and which of them will do."""

from __future__ import annotations

import pytest

from turnstore import InvalidArgument
from turnstore.engine.postgres.hosts import Host, Hosts, Purpose

WRITING, READING, REPLICA = Purpose.WRITING, Purpose.READING, Purpose.REPLICA


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://u@h/d", [("h", None)]),
        ("postgresql://u:p@h:1/d", [("h", 1)]),
        ("postgresql:///d", [(None, None)]),
        ("postgresql:///d?port=7", [(None, 7)]),
        ("postgresql://u@a:1,b:2/d", [("a", 1), ("b", 2)]),
        ("postgresql://a,b:2/d?port=5", [("a", 5), ("b", 2)]),
        ("postgresql://a,b/d?port=5,6", [("a", 5), ("b", 6)]),
        ("postgresql:///d?host=a,b&port=1,2", [("a", 1), ("b", 2)]),
        ("postgresql:///d?host=/run/x", [("/run/x", None)]),
        ("postgresql://%2Frun%2Fx/d", [("/run/x", None)]),
        ("postgresql://[::1]:5/d", [("::1", 5)]),
        ("postgresql://[::1]/d", [("::1", None)]),
        ("postgresql://u:p%40ss@h/d", [("h", None)]),
    ],
)
def test_the_hosts_of_a_url(url: str, hosts: list[tuple[str | None, int]]) -> None:
    found = Hosts(url, WRITING)
    assert list(found.in_order()) == [Host(*each) for each in hosts]
    assert len(found) == len(hosts)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:secret/x@h/d",
        "postgresql://u:secret@ret@h/d",
        "postgresql://u:se?cret@h/d",
        "postgresql://u:p@h:secret/d",
        "postgresql://u:p@h/d?port=secret",
        "postgresql://h/d?secret*=1",
        "postgresql://h:0/secret",
        "postgresql://h:65536/secret",
        "postgresql://a,,b/secret",
        "postgresql://a,b/secret?port=1,2,3",
        "postgresql:///secret?port=1,2",
        "postgresql://[::1/secret",
        "postgresql://[::1]x/secret",
        "postgresql:secret",
        "postgresql:/secret",
        "postgresql://a%00b/secret",
        "postgresql://u:secret%00@h/d",
        "postgresql://u:secret%FF@h/d",
        "postgresql://h/d?application_name=secret\ud800",
        "postgresql://..../secret",
        f"postgresql://{'a' * 64}/secret",
    ],
    ids=ascii,
)
def test_what_does_not_parse_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(InvalidArgument) as got:
        Hosts(url, WRITING)
    assert "secret" not in str(got.value)
    assert got.value.__context__ is None or got.value.__suppress_context__


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@h/d#part",
        "postgresql://u@h/d#",
        "postgresql://u@h/d?dbname=e",
        "postgresql://u@h/d?dbname=d",
        "postgresql://u@h/d?host=i",
        "postgresql://u@h/d?user=v",
        "postgresql://u:p@h/d?password=q",
        "postgresql://u@h/?sslmode=disable",
        "postgresql://u@h/d?sslmode=disable&sslmode=require",
        "postgresql:///?dbname=",
        "postgresql://u@h/d?unknown=1",
        "postgresql://u@h/d?unknown=",
    ],
)
def test_a_url_that_can_be_meant_in_two_ways_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument):
        Hosts(url, WRITING)


@pytest.mark.parametrize(
    ("url", "database"),
    [
        ("postgresql://u@h/d", "d"),
        ("postgresql://u@h/a%20b?sslmode=disable", "a b"),
        ("postgresql://u@h/?dbname=x", "x"),
        ("postgresql://u@h?dbname=x", "x"),
        ("postgresql://u@h", None),
    ],
)
def test_the_database_of_a_url(url: str, database: str | None) -> None:
    assert Hosts(url, WRITING).database == database


def test_another_sslmode_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="disable, allow"):
        Hosts("postgresql://h/d?sslmode=bogus", WRITING)
    assert len(Hosts("postgresql://h/d?sslmode=verify-full", WRITING)) == 1


def test_the_host_that_served_last_is_the_first() -> None:
    hosts = Hosts("postgresql://a,b,c/d", WRITING)
    a, b, c = hosts.in_order()
    order = hosts.in_order()
    hosts.prefer(c)
    assert list(order) == [a, b, c]
    assert list(hosts.in_order()) == [c, a, b]
    hosts.prefer(c)
    assert list(hosts.in_order()) == [c, a, b]


@pytest.mark.parametrize("attribute", ["any", "standby", "prefer-standby", "read-only"])
def test_who_writes_never_settles_on_a_standby(attribute: str) -> None:
    url = f"postgresql://h/d?target_session_attrs={attribute}"
    with pytest.raises(InvalidArgument, match="primary, read-write"):
        Hosts(url, WRITING)
    assert Hosts(url, READING).wanted
    assert Hosts(url, REPLICA).wanted


@pytest.mark.parametrize("attribute", ["primary", "read-write"])
def test_a_replica_is_no_primary(attribute: str) -> None:
    url = f"postgresql://h/d?target_session_attrs={attribute}"
    with pytest.raises(InvalidArgument, match="standby"):
        Hosts(url, REPLICA)
    assert Hosts(url, WRITING).wanted == Hosts(url, READING).wanted


def test_what_is_wanted_where_the_url_does_not_say() -> None:
    assert Hosts("postgresql://h", WRITING).wanted == (
        "SELECT WHERE NOT pg_is_in_recovery()",
    )
    assert Hosts("postgresql://h", READING).wanted == ("SELECT",)
    assert Hosts("postgresql://h", REPLICA).wanted == (
        "SELECT WHERE pg_is_in_recovery()",
    )
