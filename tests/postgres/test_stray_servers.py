"""The sweep of servers, over real hostings and accounts in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from mp_kit.errors import ProviderError
from mp_kit.server.house import House
from mp_kit.server.providers.hosting import FoundServer, Hosted, Place
from mp_kit.server.services import stray_servers, vendors
from mp_kit.server.services.ids import new_id
from mp_kit.server.services.stray_servers import ServerReport
from tests.support.hosts import MemoryHost

POD: Place = ("runpod", "pod")
ENDPOINT: Place = ("runpod", "endpoint")
OLD = timedelta(hours=1)

DEPLOYMENT = """INSERT INTO deployments (id, vendor_id, name, provider) VALUES (:id, :vendor, :id, 'runpod')"""
HOSTING = """INSERT INTO hostings
             (deployment_id, vendor_id, provider, kind, state, wanted, attempt, provider_ref, launched_at, updated_at)
             VALUES (:id, :vendor, 'runpod', :kind, :state, :wanted, :attempt, :ref, now(), now() - :silence)"""
TOKEN = """INSERT INTO deployment_tokens (id, deployment_id, vendor_id, token_hash, scope, expires_at, revoked_at)
           VALUES (:token, :id, :vendor, :token, '{"label": "hosted"}', now() + :lives, :revoked)"""


@dataclass
class Ground:
    """A vendor with hostings, and what is on its account.

    Attributes:
        hosts: Where servers run.
        vendor: Its id.
    """

    house: House
    vendor: str
    hosts: dict[Place, MemoryHost] = field(default_factory=lambda: {POD: MemoryHost(), ENDPOINT: MemoryHost()})

    def hosting(self, kind: str = "pod", **facts: Any) -> str:
        """A hosting, running at its second launch unless told otherwise; its deployment's id."""
        made = new_id("dep")
        given = {"state": "running", "wanted": "running", "attempt": 2, "ref": f"ref-{made}", "silence": timedelta(0)}
        token = {"lives": timedelta(days=5), "revoked": None} | {
            k: facts.pop(k) for k in ("lives", "revoked") if k in facts
        }
        who = {"id": made, "vendor": self.vendor}
        with self.house.db.begin() as tx:
            tx.execute(text(DEPLOYMENT), who)
            tx.execute(text(HOSTING), who | {"kind": kind} | given | facts)
            tx.execute(text(TOKEN), who | token | {"token": new_id("tok")})
        return made

    def server(
        self, deployment_id: str, attempt: int = 2, age: timedelta = OLD, ref: str = "", **more: Any
    ) -> FoundServer:
        """Something on the vendor's account."""
        hosted = Hosted(ref or f"ref-{deployment_id}", more.pop("vendor", self.vendor), "")
        return FoundServer(hosted, deployment_id, attempt, datetime.now(UTC) - age, 0.24)

    def sweep(self, *found: FoundServer, place: Place = POD, **options: Any) -> ServerReport:
        """Sweeps an account with these on it."""
        self.hosts[place].found = {self.vendor: list(found)}
        accounts = [(place, self.vendor)]
        return stray_servers.sweep(self.house.db, self.hosts, accounts, now=datetime.now(UTC), **options)

    def why(self, *found: FoundServer, place: Place = POD) -> list[str]:
        """Why these are strays, of those that are."""
        return [stray.because for stray in self.sweep(*found, place=place, dry_run=True).strays]


@pytest.fixture
def ground(house: House) -> Iterator[Ground]:
    with house.db.begin() as tx:
        made = Ground(house, vendors.create(tx, house.tokens, new_id("v"), actor="test").vendor_id)
    yield made
    with house.db.begin() as tx:
        tx.execute(text("DELETE FROM hostings"))
        tx.execute(text("DELETE FROM vendor_connections"))


def test_a_stray_is_ended_told_and_audited(ground: Ground):
    """The pod of an earlier launch costs at all hours; the current one beside it is not touched."""
    made = ground.hosting()
    old, current = ground.server(made, attempt=1, ref="old"), ground.server(made)
    report = ground.sweep(old, current, actor="test:sweep")
    [stray] = report.strays
    assert (2, ["old"]) == (report.seen, ground.hosts[POD].ended)
    assert ("runpod", "pod", ground.vendor, "old", made, 1, 0.24, True) == (
        stray.provider,
        stray.kind,
        stray.vendor_id,
        stray.ref,
        stray.deployment_id,
        stray.attempt,
        stray.price_per_hour,
        stray.ended,
    )
    with ground.house.db.begin() as tx:
        entry = tx.execute(text("SELECT * FROM audit_log WHERE action = 'sweep.server' AND subject = 'old'")).one()
    assert ("test:sweep", made, stray.because) == (entry.actor, entry.detail["deployment_id"], entry.detail["because"])


def test_a_dry_run_ends_nothing(ground: Ground):
    """And tells the same."""
    made = ground.hosting(state="stopped", wanted="stopped", ref=None)
    report = ground.sweep(ground.server(made), dry_run=True)
    assert (["Its deployment is stopped."], [], False) == (
        [stray.because for stray in report.strays],
        ground.hosts[POD].ended,
        report.strays[0].ended,
    )


@pytest.mark.parametrize("state", ["stopped", "failed", "removed"])
@pytest.mark.parametrize("place", [POD, ENDPOINT])
def test_a_deployment_at_rest_has_no_server(ground: Ground, place: Place, state: str):
    """Neither pod nor endpoint."""
    made = ground.hosting(kind=place[1], state=state, ref=None)
    assert [f"Its deployment is {state}."] == ground.why(ground.server(made), place=place)


def test_what_no_deployment_is_called_is_a_stray(ground: Ground, house: House):
    """Unknown, another vendor's, or of the other kind."""
    with house.db.begin() as tx:
        other = Ground(house, vendors.create(tx, house.tokens, new_id("v"), actor="test").vendor_id)
    found = [ground.server("dep_unknown"), ground.server(other.hosting()), ground.server(ground.hosting("endpoint"))]
    assert ["No deployment of this marketplace has such a server."] * 3 == ground.why(*found)


def test_a_launch_that_was_given_up_left_something(ground: Ground):
    """It showed late; the next launch is another attempt."""
    made = ground.hosting(state="queued", ref=None)
    assert ["Its launch was given up."] == ground.why(ground.server(made))


def test_a_double_is_a_stray(ground: Ground):
    """Its deployment has another server."""
    made = ground.hosting()
    assert ["Its deployment has another server."] == ground.why(ground.server(made), ground.server(made, ref="double"))


@pytest.mark.parametrize("ended", [{"lives": timedelta(days=-1)}, {"revoked": datetime(2026, 1, 1, tzinfo=UTC)}])
def test_a_server_whose_token_ended_is_a_stray(ground: Ground, ended: dict[str, Any]):
    """It can fetch, tell and push nothing; the keeper launches another."""
    made = ground.hosting(**ended)
    assert ["Its token has ended: it can do nothing here."] == ground.why(ground.server(made))


@pytest.mark.parametrize("facts", [{"wanted": "stopped"}, {"wanted": "removed"}, {"state": "ending"}])
def test_the_sweep_does_what_a_dead_keeper_does_not(ground: Ground, facts: dict[str, Any]):
    """After ten minutes; before, it is the keeper's."""
    assert [] == ground.why(ground.server(ground.hosting(**facts)))
    late = ground.hosting(silence=timedelta(minutes=11), **facts)
    assert ["It was to be ended, and nobody did."] == ground.why(ground.server(late))


def test_what_is_wanted_stays(ground: Ground):
    """The current server, a launch under way however old, a young one whatever it is, an endpoint in its place."""
    running, launching = ground.hosting(), ground.hosting(state="launching", ref=None)
    failed = ground.hosting(state="failed", ref=None)
    young = timedelta(seconds=100)
    found = [ground.server(running), ground.server(launching), ground.server(failed, age=young)]
    assert [] == ground.why(*found, ground.server("dep_unknown", age=young))
    assert [] == ground.why(ground.server(ground.hosting("endpoint")), place=ENDPOINT)


def test_an_account_that_does_not_answer_is_told(ground: Ground):
    """The others are swept all the same; what cannot be ended is told as not ended."""
    made = ground.hosting(state="failed", ref=None)
    ground.hosts[ENDPOINT].found = {ground.vendor: ProviderError("no answer")}
    ground.hosts[POD].found = {ground.vendor: [ground.server(made)]}

    def refuse(hosted: Hosted) -> None:
        message = f"{hosted.ref} stays"
        raise ProviderError(message)

    ground.hosts[POD].end = refuse  # type: ignore[method-assign] # RunPod refuses
    accounts = [(ENDPOINT, ground.vendor), (POD, ground.vendor)]
    report = stray_servers.sweep(ground.house.db, ground.hosts, accounts, now=datetime.now(UTC))
    assert ([f"runpod/endpoint/{ground.vendor}: no answer"], [False]) == (
        list(report.unreachable),
        [stray.ended for stray in report.strays],
    )


def test_accounts_are_those_that_had_a_server_or_are_connected(ground: Ground, house: House):
    """A restored database may have forgotten every hosting; a key that nobody tried turns no sweep red."""
    ground.hosting()
    with house.db.begin() as tx:
        connected = vendors.create(tx, house.tokens, new_id("v"), actor="test").vendor_id
        vendors.create(tx, house.tokens, new_id("v"), actor="test")
        tx.execute(text("INSERT INTO vendor_data_keys (vendor_id, wrapped_key) VALUES (:v, '')"), {"v": connected})
        untried = vendors.create(tx, house.tokens, new_id("v"), actor="test").vendor_id
        tx.execute(text("INSERT INTO vendor_data_keys (vendor_id, wrapped_key) VALUES (:v, '')"), {"v": untried})
        row = """INSERT INTO vendor_connections (vendor_id, name, ciphertext, last4, status)
                 VALUES (:v, 'runpod', '', '', :status)"""
        tx.execute(text(row), [{"v": connected, "status": "ok"}, {"v": untried, "status": "unchecked"}])
        found = stray_servers.accounts_of(tx, {POD, ENDPOINT, ("local", "process")})
    wanted = [(place, vendor) for place in (ENDPOINT, POD) for vendor in sorted((ground.vendor, connected))]
    assert sorted(wanted) == sorted(found)


def test_account_without_a_key_is_looked_at_while_a_server_is_not_at_rest(house: House):
    """A connection that was taken away turns no sweep red for ever."""
    with house.db.begin() as tx:
        ground = Ground(house, vendors.create(tx, house.tokens, new_id("v"), actor="test").vendor_id)
    made = ground.hosting()
    for state, wanted in (("running", True), ("stopped", False), ("failed", False)):
        with house.db.begin() as tx:
            change = text("UPDATE hostings SET state = :state WHERE deployment_id = :id")
            tx.execute(change, {"state": state, "id": made})
            assert wanted == ((POD, ground.vendor) in stray_servers.accounts_of(tx, {POD}))
