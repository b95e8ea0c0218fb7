from __future__ import annotations

import re
from pathlib import Path

import pytest

from mp_kit.client.marketplace import Marketplace
from mp_kit.contracts import LogLine, RunStatus
from mp_kit.errors import (
    ConflictError,
    IdempotencyError,
    IntegrityError,
    InvalidInputError,
    NetworkError,
    NotFoundError,
    SetupError,
    TimeoutExceededError,
    UnavailableError,
)
from mp_kit.testing import FakeMarketplace


def test_marketplace_without_configuration():
    """Where to look, and what to set."""
    with pytest.raises(SetupError, match="No marketplace is configured"):
        Marketplace()


def test_marketplace_reprs_hold_no_secret(market: Marketplace, fake: FakeMarketplace):
    """Neither key nor deployment token, in plain text or HTML."""
    made = market.deployments.create("live", provider="byoc")
    issued = market.deployments.token(made.deployment_id)
    shown = [market, market.me(), made, issued, market.deployments, market.deployments.list(), market.rounds.current()]
    text = "".join(repr(item) + getattr(item, "_repr_html_", str)() for item in shown)
    assert all(secret not in text for secret in (fake.api_key, made.infra_token, issued.infra_token))


def test_me_and_health(market: Marketplace):
    """Who we are, and how it is."""
    assert ("ACME", "healthy") == (market.me().name, market.health().status)


def test_start_bad_value_is_told_before_sending(market: Marketplace, fake: FakeMarketplace):
    """All findings at once."""
    with pytest.raises(InvalidInputError, match="The training run breaks the contract: max_hours"):
        market.train.start("signal", max_hours=-1)
    with pytest.raises(InvalidInputError, match="task"):
        market.train.start("dance")
    assert [] == fake.requests


def test_start_same_key_is_one_run(market: Marketplace):
    """Repeating is harmless; another body under the key is refused."""
    first = market.train.start("signal", idempotency_key="k")
    assert first.run_id == market.train.start("signal", idempotency_key="k").run_id
    with pytest.raises(IdempotencyError):
        market.train.start("signal", hyperparams={"lr": 0.1}, idempotency_key="k")


def test_start_survives_a_lost_answer(market: Marketplace, fake: FakeMarketplace):
    """A fresh key goes with each start, so that it may be repeated."""
    fake.fail(UnavailableError("Down."), path="/api/training")
    assert "run_1" == market.train.start("signal").run_id


def test_wait_sees_each_state_and_all_lines(market: Marketplace):
    """Lines come once each, in order."""
    states: list[RunStatus] = []
    lines: list[LogLine] = []
    run = market.train.start("signal")
    done = run.wait(on_update=lambda seen, new: (states.append(seen.status), lines.extend(new)))
    assert ([RunStatus.RUNNING, RunStatus.SUCCEEDED], {"accuracy": 0.5}) == (states, done.metrics)
    assert [0, 1, 2] == [line.seq for line in lines]


def test_wait_timeout_leaves_the_run_going(market: Marketplace, fake: FakeMarketplace):
    """The error says so."""
    fake.runs.statuses = [RunStatus.RUNNING]
    with pytest.raises(TimeoutExceededError, match="still running after 0 s"):
        market.train.start("signal").wait(timeout=0)


def test_download_verifies(market: Marketplace, fake: FakeMarketplace, tmp_path: Path):
    """Artifacts are as good as their hash."""
    run = market.train.start("signal").wait()
    assert [b"no model", b'{"model": "fake"}'] == [path.read_bytes() for path in run.download(tmp_path)]
    fake.shelf.files.update({digest: b"x" * len(content) for digest, content in fake.shelf.files.items()})
    with pytest.raises(IntegrityError, match=r"model\.onnx"):
        run.download(tmp_path / "again")
    assert [] == list((tmp_path / "again").iterdir())


def test_download_before_the_end(market: Marketplace, fake: FakeMarketplace):
    """Nothing is there yet."""
    fake.runs.statuses = [RunStatus.RUNNING]
    with pytest.raises(ConflictError, match="no files to download"):
        market.train.start("signal").download()


def test_download_refuses_a_path_as_name(market: Marketplace, fake: FakeMarketplace, tmp_path: Path):
    """An artifact can't be written outside of the folder."""
    run = market.train.start("signal").wait()
    seen, looks = fake.runs._runs[run.run_id]
    bad = [file.model_copy(update={"name": "../evil"}) for file in seen.artifacts.files]
    artifacts = seen.artifacts.model_copy(update={"files": bad})
    fake.runs._runs[run.run_id] = (seen.model_copy(update={"artifacts": artifacts}), looks)
    with pytest.raises(IntegrityError, match="no plain file name"):
        run.download(tmp_path / "in")
    assert not (tmp_path / "evil").exists()


def test_cancel_and_list(market: Marketplace):
    """Cancelling is repeatable; the list shows it."""
    run = market.train.start("signal").cancel().cancel()
    assert [(run.run_id, RunStatus.CANCELLED)] == [(seen.run_id, seen.status) for seen in market.train.list()]
    with pytest.raises(InvalidInputError, match="'odd' is no status"):
        market.train.list("odd")


def test_attach_unknown_run(market: Marketplace):
    """404 is its class."""
    with pytest.raises(NotFoundError):
        market.train.attach("run_99")


def test_models_register_and_promote(market: Marketplace):
    """Registering the same version again answers with the same ids."""
    first = market.models.register("trend", "signal", "1.0.0")
    assert first.version_id == market.models.register("trend", "signal", "1.0.0").version_id
    assert "pilot" == market.models.promote(first.model_id, first.version_id, "pilot").stage.value
    with pytest.raises(InvalidInputError, match="The stage breaks the contract"):
        market.models.promote(first.model_id, first.version_id, "stardom")


def test_deployment_rotation_ends_the_old_token(market: Marketplace):
    """The new one works, the old one does not."""
    made = market.deployments.create("live", provider="byoc")
    fresh = market.deployments.token(made.deployment_id, rotate=True)
    assert market.deployments.heartbeat(made.deployment_id, token=fresh).heartbeat_id
    with pytest.raises(Exception, match="missing, unknown or revoked"):
        market.deployments.heartbeat(made.deployment_id, token=made)


def test_names_at_tab(market: Marketplace, fake: FakeMarketplace):
    """Ids and names between brackets; asked once, and a failure offers nothing and is no error."""
    market.models.register("trend", "signal", "1.0.0")
    market.deployments.create("live", provider="byoc")
    run = market.train.start("signal")
    assert ["current", market.rounds.current().round_id] == market.rounds._ipython_key_completions_()
    assert (["trend"], [run.run_id]) == (
        market.models._ipython_key_completions_(),
        market.train._ipython_key_completions_(),
    )
    fake.requests.clear()
    market.train._ipython_key_completions_()
    assert [] == fake.requests
    fake.fail(NetworkError("No answer."), path="/api/deployments")
    assert [] == market.deployments._ipython_key_completions_()
    assert ["GET /api/deployments"] == fake.requests


def test_brackets_find_by_name_and_id(market: Marketplace):
    """As TAB offers them; what is not there is an error with the next step."""
    market.models.register("trend", "signal", "1.0.0")
    made = market.deployments.create("live", provider="byoc")
    run = market.train.start("signal")
    assert made.deployment_id == market.deployments["live"].deployment_id
    assert made.deployment_id == market.deployments[made.deployment_id].deployment_id
    assert ("trend", run.run_id) == (market.models["trend"].name, market.train[run.run_id].run_id)
    with pytest.raises(NotFoundError, match="no model 'x'"):
        _ = market.models["x"]
    with pytest.raises(NotFoundError, match="catalogue has no"):
        _ = market.catalog["x"]


def test_desk_lists_its_verbs(market: Marketplace, fake: FakeMarketplace):
    """Without asking anybody; no private name at TAB."""
    shown = market.rounds._repr_html_()
    assert "get(round_id)" in shown
    assert "As manifest, with the bytes and the signature" in shown
    assert ([], []) == (fake.requests, [name for name in dir(market.rounds) if re.match("_[a-z]", name)])


def test_estimate_takes_what_start_takes(market: Marketplace):
    """No request has to be built first; a misspelt option is told."""
    assert 2 == market.train.estimate("signal", max_hours=2, hyperparams={"epochs": 1}).max_hours
    with pytest.raises(InvalidInputError, match="'max_huors' is no option"):
        market.train.estimate("signal", max_huors=2)
