"""The client's own verbs against the fake: models to prod, servers that the marketplace runs, the consensus, boards."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mp_kit import errors
from mp_kit.client.marketplace import Marketplace
from mp_kit.client.models import RegisteredView
from mp_kit.contracts import CheckStatus, HostingState, Stage, Task, ValidationCheck, ValidationReport
from mp_kit.contracts.scores import LeaderboardEntry, Measured, ScoreCard
from mp_kit.testing import FakeMarketplace

NOW = datetime.now(UTC)
BAR, EARLIER = ((NOW - timedelta(minutes=minutes)).isoformat() for minutes in (30, 90))


class Clock:
    """A time that moves when a test says so."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC)  # not the import's time: a long suite comes here minutes later

    def __call__(self) -> datetime:
        """What time it is."""
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fake(clock: Clock) -> FakeMarketplace:
    return FakeMarketplace(now=clock)


@pytest.fixture
def m(fake: FakeMarketplace) -> Marketplace:
    return Marketplace(fake.url, fake.api_key, transport=fake.transport, sleep=lambda _: None)


@pytest.fixture
def model(m: Marketplace) -> RegisteredView:
    """A version that a run made."""
    run = m.train.start("signal").wait()
    return m.models.register("trend", "signal", "1", run_id=run.run_id)


def row(**changes: Any) -> dict[str, Any]:
    said = {"symbol": "EURUSD", "timeframe": "1h", "decision": "BUY", "confidence": 0.75, "model_version": "1"}
    return said | {"timestamp": BAR} | changes


def report(*, passed: bool = True) -> ValidationReport:
    status = CheckStatus.PASSED if passed else CheckStatus.FAILED
    check = ValidationCheck(name="infer", status=status, where="POST /infer", what="said", mend="Mend it.")
    facts = {"server": "http://server.test", "bars": "made-up", "contracts_version": "0.2.0", "code_version": "0"}
    facts |= {"checked_at": datetime.now(UTC).isoformat()}
    return ValidationReport.model_validate({**facts, "task": Task.SIGNAL, "checks": [check], "passed": passed}).sealed()


def score(deployment_id: str, stage: Stage, *, enough: bool) -> LeaderboardEntry:
    unknown = {"reason": "made up"}
    numbers = {name: unknown for name, field in ScoreCard.model_fields.items() if field.annotation is Measured}
    basis = {"timeframe": "1h", "horizon": 5, "bars_per_year": None, "cost": 0, "signals": 0, "scored": 0}
    basis |= {"left_out": {}, "bars": 0, "symbols": []}
    card = {"basis": basis, "tries": None, "reliability": [], **numbers}
    standing = {"contribution": {}, "mmc": {}}
    facts = {"round_id": "r", "deployment_id": deployment_id, "deployment": "d", "computed_at": BAR}
    return LeaderboardEntry.model_validate(
        facts | {"enough_data": enough, "stage": stage, "card": card, "standing": standing}
    )


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ({"run_id": "run_none"}, errors.NotFoundError),
        ({"deployment_id": "dep_none"}, errors.NotFoundError),
        ({"task": "optimizer"}, errors.ConflictError),
        ({"run_id": None}, errors.ConflictError),
    ],
)
def test_registration_is_refused(
    m: Marketplace, model: RegisteredView, wanted: dict[str, Any], error: type[errors.MarketplaceError]
):
    """What is not there, another task under the name, a version from another run."""
    run = m.train.list()[0].run_id
    with pytest.raises(error):
        m.models.register(**{"name": "trend", "task": "signal", "version": "1", "run_id": run} | wanted)
    assert ["shadow"] == [one.stage for one in m.models.list()]
    assert model.model_id == m.models.find("trend").id


def test_a_run_that_goes_on_gives_no_model(m: Marketplace):
    """422, as at the edge."""
    run = m.train.start("signal")
    with pytest.raises(errors.InvalidInputError, match="has not succeeded"):
        m.models.register("trend", "signal", "1", run_id=run.run_id)


def test_prod_opens_when_the_last_gate_does(m: Marketplace, fake: FakeMarketplace, model: RegisteredView, clock: Clock):
    """Each gate by name; a failed validation, a silence and a withdrawn word close theirs; prod retires the old one."""
    with pytest.raises(errors.ConflictError, match="cannot go to prod"):
        m.models.promote(model.model_id, "1", "prod")
    m.models.promote(model.model_id, "1", "pilot")
    made = m.deployments.create("live", provider="local", model_id=model.model_id)
    m.models.note_validation(model.model_id, "1", report())
    m.models.note_validation(model.model_id, "1", report(passed=False))
    fake.models.approve(model.model_id, "1")
    fake.models.approve(model.model_id, "1", "changed my mind", granted=False)
    fake.scores.entries = [score(made.deployment_id, Stage.PILOT, enough=False)]
    with pytest.raises(errors.ConflictError, match="validated, heartbeats, scores, approval") as refused:
        m.models.promote(model.model_id, "1", "prod")
    assert 4 == len(refused.value.details or [])
    m.models.note_validation(model.model_id, "1", report())
    fake.models.approve(model.model_id, "1")
    fake.scores.entries = [score(made.deployment_id, Stage.PILOT, enough=True)]
    m.deployments.heartbeat(made.deployment_id)
    clock.at += timedelta(seconds=300)
    with pytest.raises(errors.ConflictError, match="not met: heartbeats"):
        m.models.promote(model.model_id, "1", "prod")
    clock.at = NOW
    assert "prod" == m.models.promote(model.model_id, "1", "prod").stage
    [version] = m.models.lineage(model.model_id).versions
    assert (["shadow", "pilot", "prod"], 2) == ([s.to_stage for s in version.history], len(version.run.artifacts))  # type: ignore[union-attr]
    assert [("trend", "prod")] == [(entry.name, entry.stage) for entry in m.catalog()]


def test_a_server_is_launched_stopped_and_removed(m: Marketplace, model: RegisteredView):
    """Each look moves it on; its logs, its model, and what is wanted."""
    made = m.deployments.create("live", provider="local", model_id=model.model_id)
    assert ("queued", "silent", "live is queued.") == (made.hosting.state, made.liveness, made.words)  # type: ignore[union-attr]
    shown = [m.deployments.get(made.deployment_id) for _ in range(3)]
    assert ["launching", "running", "running"] == [one.hosting.state for one in shown if one.hosting]
    assert ("ready", "online", True) == (shown[-1].status, shown[-1].liveness, "online" in (shown[-1].words or ""))
    assert ["ready"] == m.deployments.logs(made.deployment_id, 1)
    m.deployments.change(made.deployment_id, wanted="stopped")
    ending = [m.deployments.get(made.deployment_id).hosting for _ in range(3)]
    assert ["ending", "stopped", "stopped"] == [one.state for one in ending if one]
    assert [] == m.deployments.logs(made.deployment_id)
    assert "queued" == m.deployments.change(made.deployment_id, wanted="running").hosting.state  # type: ignore[union-attr]
    m.deployments.change(made.deployment_id, wanted="removed")
    with pytest.raises(errors.ConflictError, match="removed"):
        m.deployments.change(made.deployment_id, wanted="running")
    assert [1, 0] == [len(m.deployments.list()) for _ in range(2)]


def test_an_endpoint_sleeps_until_it_is_scaled(m: Marketplace, fake: FakeMarketplace, model: RegisteredView):
    """With no worker it is not heard of; a launch that fails says why; the order is checked as at the edge."""
    fake.deployments.states = [HostingState.RUNNING]
    made = m.deployments.create("cloud", model_id=model.model_id)
    assert "sleeps" in (m.deployments.get(made.deployment_id).words or "")
    with pytest.raises(errors.InvalidInputError, match="workers_min 3 is above"):
        m.deployments.change(made.deployment_id, workers_min=3)
    m.deployments.change(made.deployment_id, workers_min=1, workers_max=3)
    seen = m.deployments.get(made.deployment_id)
    assert ("online", {"running": 1, "total": 1}) == (seen.liveness, seen.hosting.workers)  # type: ignore[union-attr]
    fake.deployments.states = [HostingState.QUEUED, HostingState.FAILED]
    second = m.deployments.create("cloud-2", model_id=model.model_id)
    assert "The test said so" in (m.deployments.get(second.deployment_id).words or "")
    with pytest.raises(errors.InvalidInputError, match="no model to run"):
        m.deployments.create("nothing")


def test_a_deployment_reads_its_own_model(m: Marketplace, fake: FakeMarketplace, model: RegisteredView):
    """With its own token; of another deployment it is not there."""
    made = m.deployments.create("live", provider="local", model_id=model.model_id)
    headers = {"Authorization": f"Bearer {made.infra_token}"}
    with httpx.Client(base_url=fake.url, transport=fake.transport, headers=headers) as http:
        told = http.get(f"/api/deployments/{made.deployment_id}/model").json()["data"]
        assert ["model.onnx", "model_card.json"] == [file["name"] for file in told["files"]]
        assert told["files"][0]["sha256"] == hashlib.sha256(http.get(told["files"][0]["url"]).content).hexdigest()
        assert 404 == http.get("/api/deployments/dep_2/model").status_code


def test_tokens_live_through_their_overlap(m: Marketplace, clock: Clock):
    """Rotated, the former one ends later; revoked, none is left."""
    made = m.deployments.create("live", provider="byoc")
    fresh = m.deployments.token(made.deployment_id, rotate=True, overlap_seconds=60)
    assert ["accepted"] * 2 == [m.deployments.try_token(made.deployment_id, one) for one in (made, fresh)]
    clock.at += timedelta(seconds=61)
    with pytest.raises(errors.AuthError):
        m.signals.push([row()], token=made)
    assert 1 == m.deployments.revoke_tokens(made.deployment_id)
    with pytest.raises(errors.AuthError):
        m.signals.push([row()], token=fresh)
    assert [] == list(m.signals.list())


def test_consensus_is_blended_of_versions_in_pilot(m: Marketplace, model: RegisteredView, clock: Clock):
    """Shadow has no voice; late has none beside one in time; each method says who moved what."""
    made = [m.deployments.create(name, provider="byoc", model_id=model.model_id) for name in "abc"]
    m.signals.push([row(confidence=0.9)], token=made[0])
    with pytest.raises(errors.NotFoundError):
        m.consensus.latest("EURUSD", "1h")
    clock.at += timedelta(seconds=1)
    m.models.promote(model.model_id, "1", "pilot")
    m.signals.push([row(confidence=0.6)], token=made[1])
    clock.at += timedelta(hours=2)
    m.signals.push([row(decision="SELL", confidence=1.0)], token=made[2])
    told = m.consensus.latest("EURUSD", "1h")
    assert ("BUY", 0.6, 1, "confidence_skill", False) == (
        *(told.decision, told.confidence, told.signals, told.method, told.late),
    )
    parts = {name: (part.weight, part.vendor, part.late) for name, part in told.contributions.items()}
    assert {"dep_2": (1.0, "ACME", None), "dep_3": (0.0, "ACME", True)} == parts
    m.signals.push([row(decision="SELL", confidence=1.0, timestamp=EARLIER)], token=made[2])
    bars = m.consensus.list(method="equal")
    assert [("BUY", False), ("SELL", True)] == [(bar.decision, bar.late) for bar in bars]
    assert ["BUY"] == [bar.decision for bar in m.consensus.list(start=BAR)]


def test_own_consensus_stands_beside_the_methods(m: Marketplace, fake: FakeMarketplace, model: RegisteredView):
    """Pushed exactly once; shown by its own method, and first where the operator chose it."""
    m.models.promote(model.model_id, "1", "pilot")
    made = m.deployments.create("blender", provider="byoc", model_id=model.model_id)
    said = row(decision="SELL", contributions={"a": {"decision": "SELL", "weight": 1, "vendor": "me"}})
    assert [1, 0] == [m.consensus.push([said], token=made).accepted for _ in range(2)]
    method = f"vendor:{model.model_id}"
    told = m.consensus.latest("EURUSD", "1h", method)
    assert ("SELL", -0.75, "ACME", None) == (told.decision, told.score, told.vendor, told.contributions["a"].vendor)
    assert [] == list(m.consensus.list())
    fake.consensus.primary = method
    m.signals.push([row(symbol="EURJPY"), row()], token=made)
    assert {("EURUSD", method), ("EURJPY", "confidence_skill")} == {(b.symbol, b.method) for b in m.consensus.list()}


def test_boards_show_what_a_test_says(m: Marketplace, fake: FakeMarketplace):
    """The public sees pilot and prod, the vendor its own."""
    fake.scores.entries = [score("dep_1", Stage.SHADOW, enough=False), score("dep_2", Stage.PILOT, enough=True)]
    assert ["dep_2"] == [entry.deployment_id for entry in m.scores.leaderboard()]
    assert ["dep_1", "dep_2"] == [entry.deployment_id for entry in m.scores.own("1h")]
    assert [] == list(m.scores.own("1d"))


def test_drops_are_stored_when_they_come(m: Marketplace, fake: FakeMarketplace):
    """Row by row, with an account of the bad ones; what is no Parquet file has failed, and may be announced again."""
    made = m.deployments.create("live", provider="byoc")
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row(), row(confidence=2.0)]), sink)
    headers = {"Authorization": f"Bearer {made.infra_token}"}
    with httpx.Client(base_url=fake.url, transport=fake.transport, headers=headers) as http:
        for content in (b"no parquet", sink.getvalue()):
            wanted = {"name": "d", "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            told = http.post("/api/signals/drops", json=wanted).json()["data"]
            assert 200 == http.put(told["url"], content=content).status_code
            [drop] = http.get("/api/signals/drops").json()["data"]
            seen = (drop["state"], drop["rows"], drop["accepted"], [one["index"] for one in drop["problems"]])
            assert (("failed", 0, 0, []) if content == b"no parquet" else ("stored", 2, 1, [1])) == seen
        assert 409 == http.post("/api/signals/drops", json=wanted | {"sha256": "0" * 64}).status_code
    assert 1 == len(m.signals.list())


def test_byoc_run_hands_out_its_environment(m: Marketplace):
    """Of a byoc run alone, and while it goes on."""
    env = m.train.start("signal", provider="byoc").environment()
    assert {"MP_API_URL", "MP_RUN_TOKEN", "ROUND_ID", "TASK"} == set(env.env)
    with pytest.raises(errors.ConflictError, match="runs on runpod"):
        m.train.start("signal").environment()
