"""``mp webhooks`` and ``m.webhooks``: the secret is shown once, in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mp_kit.cli.webhooks import EVENTS
from mp_kit.client.marketplace import Marketplace
from mp_kit.contracts import WebhookEventType, sign_webhook, verify_webhook
from mp_kit.errors import InvalidInputError, NotFoundError
from mp_kit.testing import FakeMarketplace

Mp = Callable[..., Any]
URL = "https://hooks.example.com/mp"


def test_create_prints_the_secret_once(mp: Mp, signed_in: FakeMarketplace):  # noqa: ARG001 - the fixture signs in
    """On stdout, with the id; no list shows it again."""
    said = mp("webhooks", "create", URL, "--event", "run.finished", "--event", "signal.stored", "--json")
    assert (0, ["run.finished", "signal.stored"], True) == (
        said.code,
        said.data["events"],
        said.data["secret"].startswith("whsec_"),
    )
    told = mp("webhooks", "create", URL, "--event", "run.finished")
    assert ["whe_2", True] == [told.out.split()[0], told.out.split()[1].startswith("whsec_")]
    listed = mp("webhooks", "list", "--json")
    assert ["whe_1", "whe_2"] == [each["id"] for each in listed.data]
    assert "whsec_" not in listed.out + mp("webhooks", "list").out


def test_create_help_names_every_event():
    """All that an endpoint may want, in the contract's order."""
    assert [event.value for event in WebhookEventType if event.can_be_wanted] == [*EVENTS]


@pytest.mark.parametrize("event", ["ping", "all"])
def test_an_event_that_is_none_is_exit_5(mp: Mp, signed_in: FakeMarketplace, event: str):
    """Nothing is sent."""
    signed_in.requests.clear()
    said = mp("webhooks", "create", URL, "--event", event, "--json")
    assert (5, "invalid_input", []) == (said.code, said.error["code"], signed_in.requests)


def test_no_event_is_a_usage_error(mp: Mp, signed_in: FakeMarketplace):
    """There is no 'everything': what comes later would come too."""
    assert 2 == mp("webhooks", "create", URL).code
    assert [] == signed_in.webhooks.all()


def test_the_life_of_an_endpoint(mp: Mp, signed_in: FakeMarketplace):
    """Tested, replayed, rotated, enabled, removed."""
    mp("webhooks", "create", URL, "--event", "run.finished")
    signed_in.webhooks.taken = False
    ping = mp("webhooks", "test", "whe_1", "--json").data
    dead = mp("webhooks", "deliveries", "whe_1", "--status", "dead", "--json").data
    assert [(ping["id"], "it answered 500")] == [(each["id"], each["log"][0]["error"]) for each in dead]
    signed_in.webhooks.taken = True
    assert "pending" == mp("webhooks", "replay", "whe_1", ping["id"], "--json").data["status"]
    assert [] == mp("webhooks", "deliveries", "whe_1", "--status", "dead", "--json").data
    rotated = mp("webhooks", "rotate", "whe_1", "--overlap-hours", "2", "--json").data
    assert (True, True) == (rotated["secret"].startswith("whsec_"), rotated["secret_overlap_until"] is not None)
    assert "enabled" == mp("webhooks", "enable", "whe_1", "--json").data["status"]
    assert "would remove whe_1\n" == mp("webhooks", "remove", "whe_1", "--dry-run").out
    assert 0 == mp("webhooks", "remove", "whe_1").code
    assert 4 == mp("webhooks", "remove", "whe_1").code


def test_from_a_notebook(fake: FakeMarketplace):
    """A view shows no secret, and the secret verifies."""
    market = Marketplace(fake.url, fake.api_key, transport=fake.transport)
    made = market.webhooks.create(URL, "run.finished", description="mine")
    assert "whsec_" not in f"{made!r} {made} {made._repr_html_()} {market.webhooks.list()!r} {market.webhooks!r}"
    headers = sign_webhook("msg_1", 1_000, b"{}", [made.secret])
    assert {} == verify_webhook(headers, b"{}", made.secret, now=1_000)
    assert "delivered" == (market.webhooks.test(made.id), market.webhooks.deliveries(made.id)[0])[1].status
    assert "204" in repr(market.webhooks.deliveries(made.id)[0])
    assert made.id == market.webhooks.get(made.id).id


def test_from_a_notebook_what_is_not_there(fake: FakeMarketplace):
    """A bad order is not sent; what is not there is not found."""
    market = Marketplace(fake.url, fake.api_key, transport=fake.transport)
    with pytest.raises(InvalidInputError, match="cannot be subscribed"):
        market.webhooks.create(URL, ["ping"])
    assert [] == fake.requests
    for act in (market.webhooks.get, market.webhooks.remove, market.webhooks.test, market.webhooks.enable):
        with pytest.raises(NotFoundError):
            act("whe_9")
