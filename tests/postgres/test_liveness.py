"""Heartbeats by their age: told once, forgotten after 30 days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from mp_kit.contracts import WebhookRequest
from mp_kit.server.house import House
from mp_kit.server.services import deployments, liveness
from mp_kit.server.services.liveness import liveness_of
from mp_kit.server.store import webhooks as webhook_rows
from mp_kit.server.store.engine import Tx
from tests.support.gates import candidate, heard

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
AGES = {0: "online", 60: "online", 61: "degraded", 150: "degraded", 151: "offline"}


@pytest.mark.parametrize(("age", "said"), AGES.items())
def test_liveness_by_age(age: int, said: str):
    """Online up to 60 s, degraded up to 150 s, offline after."""
    assert said == liveness_of(NOW - timedelta(seconds=age), NOW)


def test_never_heard_is_silent():
    """Not offline: it may not have been started yet."""
    assert "silent" == liveness_of(None, NOW)


def age(tx: Tx, seconds: float) -> None:
    old = datetime.now(UTC) - timedelta(seconds=seconds)
    tx.execute(
        text("UPDATE deployments SET last_heartbeat_at = :old WHERE last_heartbeat_at IS NOT NULL"), {"old": old}
    )


def test_silence_is_told_once_and_again_after_a_heartbeat(tx: Tx, house: House):
    """Offline is an event, not a state that is repeated."""
    who = candidate(tx, house)
    heard(tx, who)
    assert [] == liveness.flip(tx)
    age(tx, 200)
    assert ([who.deployment], []) == (liveness.flip(tx), liveness.flip(tx))
    assert "offline" == deployments.get(tx, who.vendor, who.deployment).status
    heard(tx, who)
    age(tx, 200)
    assert [who.deployment] == liveness.flip(tx)


def test_the_vendors_endpoint_hears_of_it(tx: Tx, house: House):
    """With the deployment's id and name; nobody else's endpoint does."""
    who, other = candidate(tx, house), candidate(tx, house, "Other")
    for number, vendor in enumerate((who.vendor, other.vendor)):
        wanted = WebhookRequest(url="https://example.com/", events=["deployment.offline"])  # type: ignore[list-item]
        sealed = {"wrapped_key": "-", "secret": "-", **wanted.model_dump(mode="json")}
        webhook_rows.insert(tx, {"id": f"whe_{number}", "vendor_id": vendor, **sealed})
    heard(tx, who)
    age(tx, 200)
    liveness.flip(tx)
    told = list(
        tx.execute(
            text("SELECT e.body, d.endpoint_id FROM webhook_events e JOIN webhook_deliveries d ON d.event_id = e.id")
        )
    )
    assert [("whe_0", True)] == [(row.endpoint_id, who.deployment in row.body) for row in told]


def test_maintenance_is_no_silence(tx: Tx, house: House):
    """Who said so before going quiet is left alone."""
    who = candidate(tx, house)
    heard(tx, who)
    tx.execute(text("UPDATE deployments SET status = 'maintenance' WHERE id = :id"), {"id": who.deployment})
    age(tx, 10_000)
    assert [] == liveness.flip(tx)


def test_words_say_how_it_stands(tx: Tx, house: House):
    """A sentence, with the age and what was said."""
    who = candidate(tx, house)
    assert "live has not been heard of yet." == deployments.get(tx, who.vendor, who.deployment).words
    heard(tx, who)
    age(tx, 100)
    told = deployments.get(tx, who.vendor, who.deployment)
    assert "degraded" == told.liveness
    assert "100 s ago, said ready" in (told.words or "")


def test_heartbeats_are_kept_30_days(tx: Tx, house: House):
    """Older ones go, the last instant stays with the deployment."""
    who = candidate(tx, house)
    heard(tx, who)
    tx.execute(text("UPDATE deployment_heartbeats SET received_at = now() - interval '31 days'"))
    heard(tx, who)
    assert 1 == liveness.forget(tx, datetime.now(UTC))
    assert 1 == tx.execute(text("SELECT count(*) FROM deployment_heartbeats")).scalar_one()
