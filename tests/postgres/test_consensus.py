"""The consensus in Postgres: who counts, late voices, skills, methods side by side, the operator's choice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from mp_kit.contracts import DeploymentRequest, ModelRegistration, Stage, Task
from mp_kit.errors import InvalidInputError, NotFoundError
from mp_kit.scoring.skill import Record
from mp_kit.server.house import House
from mp_kit.server.services import consensus, deployments, models, skills
from mp_kit.server.services.tokens import Principal
from mp_kit.server.store.engine import Tx
from tests.support.voices import BAR, make_voice, say, signal

PILOT = Stage.PILOT


def test_nothing_yet(tx: Tx):
    """Absent is 404, not an empty bar."""
    with pytest.raises(NotFoundError, match="no consensus on EURUSD"):
        consensus.latest(tx, "EURUSD")


@pytest.mark.parametrize("method", ["", "median", "vendor", "Confidence"])
def test_unknown_method_is_refused(tx: Tx, method: str):
    """With those that there are."""
    with pytest.raises(InvalidInputError) as caught:
        consensus.latest(tx, method=method)
    assert "confidence_skill" in caught.value.hint


def test_blends_with_attribution(tx: Tx, house: House):
    """Two vendors about one bar: shares by confidence, vendors named, news blended again."""
    one, two = make_voice(tx, house, "One", PILOT), make_voice(tx, house, "Two", PILOT)
    say(tx, one, signal(confidence=0.75))
    assert 1 == consensus.refresh(tx)
    assert 0 == consensus.refresh(tx)
    say(tx, two, signal(decision="SELL", confidence=0.25))
    assert 1 == consensus.refresh(tx)
    bar = consensus.latest(tx, "EURUSD")
    told = {c.vendor: (c.decision.value, c.weight) for c in bar.contributions.values()}
    assert {"One": ("BUY", 0.75), "Two": ("SELL", 0.25)} == told
    assert ("BUY", 2, "confidence_skill") == (bar.decision.value, bar.signals, bar.method)
    assert 0.75**2 - 0.25**2 == pytest.approx(bar.confidence, abs=1e-15)
    part = bar.contributions[two.deployment_id or ""]
    assert (bar.score - 0.75, 0.75 - 1.0, "BUY") == pytest.approx((part.value, part.swing, part.without))


def test_methods_stand_side_by_side(tx: Tx, house: House):
    """The same voices, each method's weights."""
    say(tx, make_voice(tx, house, "One", PILOT), signal(confidence=0.75))
    say(tx, make_voice(tx, house, "Two", PILOT), signal(decision="SELL", confidence=0.25))
    consensus.refresh(tx)
    assert "HOLD" == consensus.latest(tx, method="equal").decision
    assert "BUY" == consensus.latest(tx, method="confidence").decision
    assert {"equal", "confidence", "confidence_skill"} == {one.method for one in consensus.methods(tx)}
    assert 1 == len(consensus.history(tx))


@pytest.mark.parametrize("stages", [(), (Stage.PILOT, Stage.SHADOW), (Stage.RETIRED,)])
def test_shadow_never_counts(tx: Tx, house: House, stages: tuple[Stage, ...]):
    """Nor does it show: its vendor tries it out in private."""
    say(tx, make_voice(tx, house, "Shadow", *stages), signal())
    assert 1 == consensus.refresh(tx)
    assert [] == consensus.history(tx)
    say(tx, make_voice(tx, house, "Prod", Stage.PILOT, Stage.PROD), signal(decision="SELL"))
    consensus.refresh(tx)
    assert ("SELL", 1) == (consensus.latest(tx).decision, len(consensus.latest(tx).contributions))


def test_promotion_counts_from_then_on(tx: Tx, house: House):
    """What a version said in shadow stays unheard, however often its bar is blended again."""
    who = make_voice(tx, house, "Promoted")
    say(tx, who, signal())
    promote(tx, who)
    say(tx, who, signal(symbol="GBPUSD"))
    consensus.refresh(tx)
    say(tx, make_voice(tx, house, "Other", PILOT), signal(decision="SELL"))
    consensus.refresh(tx)
    assert ["SELL"] == [bar.decision for bar in consensus.history(tx, symbol="EURUSD")]
    assert ["BUY"] == [bar.decision for bar in consensus.history(tx, symbol="GBPUSD")]


def promote(tx: Tx, who: Principal) -> None:
    """To pilot at this very moment: the transaction's own clock stands still."""
    statement = text(
        "INSERT INTO model_stage_history (version_id, seq, from_stage, to_stage, actor, at)"
        " SELECT id, 9, 'shadow', 'pilot', 'test', :now FROM model_versions WHERE model_id = :model"
    )
    tx.execute(statement, {"now": datetime.now(UTC), "model": who.model_id})


def move_a_shadow_in(tx: Tx, sly: Principal, shadow: Principal) -> None:
    """What turned out to be right is said to have run the version that was in pilot then."""
    register(tx, sly, "m", "1", shadow)


def move_a_voice_out(tx: Tx, sly: Principal, _: Principal) -> None:
    """What turned out to be wrong is said to have run a version that nobody was to hear."""
    register(tx, sly, "junk", "1", sly)


def name_its_version(tx: Tx, sly: Principal, _: Principal) -> None:
    """The version that a signal named, and that nobody knew, becomes one in shadow."""
    register(tx, sly, "m", "1-rc", None)
    tx.execute(text("UPDATE model_versions SET created_at = clock_timestamp() WHERE version = '1-rc'"))


def register(tx: Tx, sly: Principal, name: str, version: str, runs: Principal | None) -> str:
    """Registers a version of the vendor's, as what a deployment runs from now on."""
    wanted = {"name": name, "task": Task.SIGNAL, "version": version}
    wanted |= {"deployment_id": runs.deployment_id} if runs is not None else {}
    return models.register(tx, str(sly.vendor_id), ModelRegistration(**wanted)).model_id


@pytest.mark.parametrize("hindsight", [move_a_shadow_in, move_a_voice_out, name_its_version])
def test_hindsight_changes_no_bar(tx: Tx, house: House, hindsight: Callable[[Tx, Principal, Principal], None]):
    """Whose voice counts is settled when it comes: a bar that is blended again later is the same."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0).isoformat()
    sly = make_voice(tx, house, "Sly", PILOT)
    register(tx, sly, "m", "1", sly)
    model = register(tx, sly, "junk", "1", None)
    wanted = DeploymentRequest(name="shadow", provider="byoc", model_id=model)
    placed = deployments.create(tx, house.tokens, str(sly.vendor_id), wanted, actor="test").deployment_id
    shadow = replace(sly, deployment_id=placed, model_id=model)
    say(tx, make_voice(tx, house, "Other", PILOT), signal(event_time=now, confidence=0.6))
    say(tx, sly, signal(event_time=now, decision="SELL", model_version="1-rc"))
    say(tx, shadow, signal(event_time=now, confidence=1.0))
    consensus.refresh(tx)
    before = [bar.model_dump(exclude={"computed_at"}) for bar in consensus.history(tx)]
    assert [2] == [len(bar["contributions"]) for bar in before]
    hindsight(tx, sly, shadow)
    say(tx, Principal(kind="operator"), signal(symbol="GBPUSD", event_time=now))
    tx.execute(text("UPDATE signal_batches SET blended_at = NULL"))  # as if somebody had spoken about the bar again
    assert 2 == consensus.refresh(tx)
    assert before == [bar.model_dump(exclude={"computed_at"}) for bar in consensus.history(tx, symbol="EURUSD")]


def test_moved_deployment_counts_from_then_on(tx: Tx, house: House):
    """What it says after it was moved is judged by what it runs then."""
    who = make_voice(tx, house, "Mover", PILOT)
    say(tx, who, signal())
    register(tx, who, "junk", "1", who)
    say(tx, who, signal(symbol="GBPUSD"))
    consensus.refresh(tx)
    assert ["EURUSD"] == [bar.symbol for bar in consensus.history(tx)]
    ran = tx.execute(text("SELECT seq FROM deployment_versions WHERE deployment_id = :id ORDER BY seq"),
                     {"id": who.deployment_id})  # fmt: skip
    assert [1, 2] == list(ran.scalars())


@pytest.mark.parametrize("verb", ["UPDATE {} SET since = '2020-01-01'", "DELETE FROM {}", "TRUNCATE {}"])
def test_what_a_deployment_ran_only_grows(tx: Tx, house: House, verb: str):
    """Not even the owner of the tables rewrites it."""
    make_voice(tx, house, "Mover", PILOT)
    with pytest.raises(DBAPIError, match="can only grow"):
        tx.execute(text(verb.format("deployment_versions")))


def test_unregistered_version_has_no_voice(tx: Tx, house: House):
    """A deployment that runs no known version is in nobody's stage; the house's own signals count."""
    someone = make_voice(tx, house, "Someone", PILOT)
    tx.execute(text("UPDATE deployments SET version_id = NULL WHERE id = :id"), {"id": someone.deployment_id})
    say(tx, someone, signal(model_version="unheard-of"))
    say(tx, Principal(kind="operator"), signal(decision="SELL"))
    consensus.refresh(tx)
    assert ["house"] == list(consensus.latest(tx).contributions)


def test_newest_signal_of_a_deployment_speaks(tx: Tx, house: House):
    """Two versions of one deployment about one bar are one voice: the newest."""
    who = make_voice(tx, house, "Twice", PILOT)
    tx.execute(text("UPDATE deployments SET version_id = (SELECT id FROM model_versions WHERE model_id = model_id)"))
    say(tx, who, signal())
    say(tx, who, signal(model_version="2", decision="SELL"))
    consensus.refresh(tx)
    bar = consensus.latest(tx)
    assert ("SELL", 1) == (bar.decision.value, bar.signals)


def test_late_voice_has_no_weight_beside_one_in_time(tx: Tx, house: House):
    """It is shown, and moves nothing; a bar of late voices alone is blended and marked."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    prompt, tardy = make_voice(tx, house, "Prompt", PILOT), make_voice(tx, house, "Tardy", PILOT)
    say(tx, prompt, signal(event_time=now.isoformat(), confidence=0.3))
    say(tx, tardy, signal(event_time=now.isoformat(), decision="SELL", confidence=0.9), signal(confidence=0.9))
    tx.execute(text("UPDATE signals SET late = true WHERE deployment_id = :id"), {"id": tardy.deployment_id})
    consensus.refresh(tx)
    bar, old = consensus.history(tx)
    part = bar.contributions[tardy.deployment_id or ""]
    assert ("BUY", 0.3, 1, False) == (bar.decision, bar.confidence, bar.signals, bar.late)
    assert (0.0, 0.0, True, None) == (part.weight, part.value, part.late, part.without)
    assert (BAR, "BUY", True) == (old.event_time, old.decision, old.late)


def test_skills_are_those_known_before_the_bar(tx: Tx, house: House):
    """Asked for the beginning of the bar's day; who has no record is average."""
    good, plain = make_voice(tx, house, "Good", PILOT), make_voice(tx, house, "Plain", PILOT)
    for who, decision in ((good, "BUY"), (plain, "SELL")):
        say(tx, who, signal(decision=decision), signal(decision=decision, symbol="GBPUSD"))
    asked = []

    def told_of(_: Tx, bar_time: datetime, timeframe: str) -> Mapping[str, Record]:
        asked.append((bar_time, timeframe))
        return {str(good.deployment_id): Record(0.56, 5_000), str(plain.deployment_id): Record(0.50, 5_000)}

    consensus.refresh(tx, skills=told_of)
    assert [(BAR.replace(hour=0), "1h")] == asked
    told = {name: part.weight for name, part in consensus.latest(tx).contributions.items()}
    assert told[good.deployment_id or ""] > 0.7
    assert {0.5} == {part.weight for part in consensus.latest(tx, method="confidence").contributions.values()}


def test_measured_skills_know_nothing_of_what_came_later(tx: Tx, house: House):
    """A score counts for bars after its last outcome; the newest such score of a deployment does."""
    name = str(make_voice(tx, house, "Scored", PILOT).deployment_id)
    scored(tx, name, "old", BAR - timedelta(days=9), 0.4)
    scored(tx, name, "new", BAR, 0.6)
    scored(tx, name, "none", BAR, None)
    assert {name: Record(0.6, 700)} == skills.measured(tx, BAR, "1h")
    assert {name: Record(0.4, 700)} == skills.measured(tx, BAR - timedelta(seconds=1), "1h")
    assert {} == skills.measured(tx, BAR - timedelta(days=10), "1h")


def test_skill_is_of_the_bars_timeframe(tx: Tx, house: House):
    """A record in days, though newer, weighs nothing in hours; whoever has none in a timeframe is average there."""
    name = str(make_voice(tx, house, "Scored", PILOT).deployment_id)
    scored(tx, name, "hours", BAR - timedelta(hours=1), 0.6)
    scored(tx, name, "days", BAR, 0.4, "1d")
    found = {timeframe: skills.measured(tx, BAR, timeframe) for timeframe in ("1h", "1d", "5m")}
    assert {"1h": {name: Record(0.6, 700)}, "1d": {name: Record(0.4, 700)}, "5m": {}} == found


@pytest.mark.parametrize("again", ["a", "b"])
def test_the_newer_round_breaks_a_tie(tx: Tx, house: House, again: str):
    """Two scores that ended together: which of them was stored last changes nothing."""
    name = str(make_voice(tx, house, "Scored", PILOT).deployment_id)
    for round_id, rate in (("a", 0.4), ("b", 0.6)):
        scored(tx, name, round_id, BAR, rate)
    tx.execute(text("UPDATE model_scores SET bars = 2 WHERE round_id = :round"), {"round": again})
    assert {name: Record(0.6, 700)} == skills.measured(tx, BAR, "1h")


def scored(tx: Tx, deployment: str, round_id: str, last: datetime, rate: float | None, timeframe: str = "1h") -> None:
    """A deployment's score against a round of its own."""
    tx.execute(text("INSERT INTO signing_keys (id, public_key) VALUES ('k', '') ON CONFLICT DO NOTHING"))
    published = BAR + timedelta(days=ord(round_id[0]))  # rounds come in the order of the alphabet
    tx.execute(text(ROUND), {"id": round_id, "published": published})
    card = json.dumps({"basis": {"last": last.isoformat()}, "hit_rate": {"value": rate, "n": 700}})
    tx.execute(text(SCORE), {"round": round_id, "deployment": deployment, "timeframe": timeframe, "card": card})


ROUND = """INSERT INTO dataset_rounds (id, name, fingerprint, manifest, manifest_sha256, manifest_key_id,
           manifest_signature, created_at) VALUES (:id, 'r', :id, '', '', 'k', '', :published)"""
SCORE = """INSERT INTO model_scores (round_id, deployment_id, timeframe, enough_data, bars, card)
           VALUES (:round, :deployment, :timeframe, true, 1, CAST(:card AS jsonb))"""


def test_choosing_a_method_is_audited_once(tx: Tx):
    """The same choice again is no event."""
    assert "confidence_skill" == consensus.choose(tx, "equal", actor="operator:test")
    assert "equal" == consensus.choose(tx, "equal", actor="operator:test")
    entries = tx.execute(text("SELECT subject, detail FROM audit_log WHERE action = 'consensus.method'")).all()
    assert [("equal", {"before": "confidence_skill"})] == [tuple(entry) for entry in entries]


def test_chosen_method_is_shown(tx: Tx, house: House):
    """To whoever asks for none."""
    say(tx, make_voice(tx, house, "One", PILOT), signal())
    consensus.refresh(tx)
    consensus.choose(tx, "equal", actor="operator:test")
    assert "equal" == consensus.latest(tx).method
    assert ["equal"] == [one.method for one in consensus.methods(tx) if one.primary]


def test_vendor_that_never_blended_cannot_be_chosen(tx: Tx):
    """A typing error would silence the consensus."""
    with pytest.raises(NotFoundError, match="vendor:nobody"):
        consensus.choose(tx, "vendor:nobody", actor="operator:test")


def test_history_is_newest_first_within_its_span(tx: Tx, house: House):
    """From, up to and without the end."""
    times = [BAR + timedelta(hours=hours) for hours in range(4)]
    say(tx, make_voice(tx, house, "One", PILOT), *[signal(event_time=at.isoformat()) for at in times])
    consensus.refresh(tx)
    found = consensus.history(tx, since=times[1], until=times[3])
    assert [times[2], times[1]] == [bar.event_time for bar in found]
