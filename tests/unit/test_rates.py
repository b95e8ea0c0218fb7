"""Limits as the operator writes them."""

from __future__ import annotations

import pytest

from mp_kit.errors import SetupError
from mp_kit.server.rates import DEFAULTS, Limit, parse


def test_nothing_said_are_the_wires():
    """Writes, heartbeats with bursts, vendors, and everybody."""
    told = {name: str(limit) for name, limit in parse("").items()}
    assert {"writes": "60/min", "heartbeats": "120/h with bursts of 5", "vendor": "60/min", "public": "100/min"} == {
        name: told[name] for name in ("writes", "heartbeats", "vendor", "public")
    }
    assert DEFAULTS == parse(" ")


def test_off_is_no_limit_at_all():
    """And one alone can be off."""
    assert {} == parse("off") == parse("all=off")
    assert set(DEFAULTS) - {"public"} == set(parse("public=off"))


def test_changes_leave_the_others():
    """With commas or spaces between; the burst is the count unless said."""
    limits = parse("writes=600/min, heartbeats=10/s:3 vendor=5/h")
    assert (Limit("writes", 600, 60.0, 600), Limit("heartbeats", 10, 1.0, 3)) == (
        limits["writes"],
        limits["heartbeats"],
    )
    assert (720.0, DEFAULTS["public"]) == (limits["vendor"].step, limits["public"])


def test_all_stands_for_every_one():
    """Until one is named behind it."""
    limits = parse("all=1000/s,failures=3/min")
    assert {"1000/s", "3/min"} == {str(limit) for limit in limits.values()}
    assert set(DEFAULTS) == set(limits)


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ("writes", "writes="),
        ("writes=60", "writes=60"),
        ("writes=0/min", "0/min"),
        ("writes=60/min:0", "60/min:0"),
        ("writes=-1/min", "-1/min"),
        ("writes=60/day", "60/day"),
        ("writes=9999999999/s", "9999999999/s"),
        ("reads=60/min", "'reads'"),
        ("=60/min", "''"),
    ],
)
def test_what_is_no_limit_is_named(said: str, what: str):
    """With what there is in its place."""
    with pytest.raises(SetupError, match="MP_LIMITS") as caught:
        parse(said)
    assert what in caught.value.message
    assert caught.value.hint
