"""Hosted deployments and their keeper, over a place for servers that misbehaves."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from mp_kit.contracts import DeploymentChange, DeploymentRequest, ModelRegistration, Task
from mp_kit.errors import AuthError, ConflictError, InvalidInputError, NotFoundError, ProviderError, UnavailableError
from mp_kit.server.house import House
from mp_kit.server.providers.hosting import HostPhase, HostView
from mp_kit.server.services import deployments, hostings, models, showcase
from mp_kit.server.services.hosting_keeper import MOST_FAILURES, Keeper, turn
from tests.support.hosts import everywhere
from tests.support.stages import Stage, staged


@pytest.fixture
def stage(house: House) -> Iterator[Stage]:
    with staged(house) as stage:
        yield stage


def test_it_is_launched_with_the_wires_environment(stage: Stage):
    """A token of its own that works, and the version that it serves; the address is told once it is there."""
    made = stage.deploy()
    assert "queued" == stage.state(made)
    stage.turn()
    [order] = stage.host.orders
    assert {"VENDOR_ID", "DEPLOYMENT_ID", "MARKETPLACE_TOKEN", "MARKETPLACE_API_URL", "INFRA_SIGNALS_URL"} | {
        "INFRA_CONSENSUS_URL",
        "MODEL_VERSION",
        "HEARTBEAT_INTERVAL",
    } == set(order.env)
    assert order.env["MARKETPLACE_TOKEN"] not in repr(order)
    who = stage.house.tokens.authenticate(order.env["MARKETPLACE_TOKEN"], stage.house.db.begin)
    assert (made, "1") == (who.deployment_id, order.env["MODEL_VERSION"])
    with stage.house.db.begin() as tx:
        told = deployments.get(tx, stage.vendor, made)
        served = hostings.served_model(tx, stage.house.store, stage.vendor, made, told.created_at)
    assert (f"http://host.test/{made}/1", "running") == (told.endpoint, told.hosting and told.hosting.state)
    assert ["model.onnx", "model_card.json"] == sorted(file.name for file in served.files)


def test_a_lost_answer_is_looked_for_and_not_ordered_again(stage: Stage):
    """One order, one server."""
    made = stage.deploy()
    stage.host.lose = UnavailableError("no answer")
    stage.host.unsure = UnavailableError("too early to tell")
    stage.turn(3)
    assert ("launching", 1) == (stage.state(made), len(stage.host.orders))
    stage.host.unsure = None
    stage.turn(2)
    assert ("running", 1, 1) == (stage.state(made), len(stage.host.orders), len(stage.host.alive))


def test_what_was_surely_not_made_is_ordered_under_another_attempt(stage: Stage):
    """After the search came to nothing."""
    made = stage.deploy()
    stage.host.refuse = [UnavailableError("no answer")]
    stage.turn(3)
    assert ("running", [1, 2]) == (stage.state(made), [order.attempt for order in stage.host.orders])


def test_no_place_is_tried_again_until_it_is_given_up(stage: Stage):
    """Five times, and then the vendor reads why; starting it begins anew."""
    made = stage.deploy()
    stage.host.refuse = [ProviderError("no place") for _ in range(MOST_FAILURES)]
    stage.turn(MOST_FAILURES + 2)
    assert ("failed", "no place", MOST_FAILURES) == (
        stage.state(made),
        stage.seen(made).failure,
        len(stage.host.orders),
    )
    stage.want(made, wanted="running")
    stage.turn()
    assert "running" == stage.state(made)


def test_a_refusal_for_good_ends_it(stage: Stage):
    """It is not repeated."""
    made = stage.deploy()
    stage.host.refuse = [InvalidInputError("no such GPU")]
    stage.turn(3)
    assert ("failed", 1) == (stage.state(made), len(stage.host.orders))


def test_a_server_that_vanished_is_launched_again(stage: Stage):
    """With a token of its own; that of the former launch is over."""
    made = stage.deploy()
    stage.turn()
    stage.host.alive.clear()
    stage.turn(2)
    first, second = (order.env["MARKETPLACE_TOKEN"] for order in stage.host.orders)
    assert "running" == stage.state(made)
    assert made == stage.house.tokens.authenticate(second, stage.house.db.begin).deployment_id
    with pytest.raises(AuthError):
        stage.house.tokens.authenticate(first, stage.house.db.begin)


def test_stop_start_remove(stage: Stage):
    """Stopped only when it is gone, however often it has to be asked; removed, it is listed no more."""
    made = stage.deploy()
    stage.turn()
    stage.host.stubborn = 2
    stage.want(made, wanted="stopped")
    stage.turn(2)
    assert ("ending", 1) == (stage.state(made), len(stage.host.alive))
    stage.turn(3)
    assert ("stopped", {}) == (stage.state(made), stage.host.alive)
    stage.want(made, wanted="running")
    stage.turn()
    assert "running" == stage.state(made)
    stage.want(made, wanted="removed")
    stage.turn(3)
    assert ("removed", {}) == (stage.state(made), stage.host.alive)
    with stage.house.db.begin() as tx:
        assert [] == deployments.list_of(tx, stage.vendor)
    with pytest.raises(ConflictError):
        stage.want(made, wanted="running")


def test_what_was_cut_is_raised_again(stage: Stage):
    """RunPod lowers the most workers of an endpoint that nobody asks."""
    made = stage.deploy(provider="runpod", workers_max=3)
    stage.host.limits = (0, 0)
    stage.turn(3)
    assert [(0, 3)] == stage.host.scaled
    stage.want(made, workers_max=5, workers_min=1)
    stage.turn(2)
    assert [(0, 3), (1, 5)] == stage.host.scaled


def test_a_token_is_renewed_by_another_launch(stage: Stage):
    """Before its 30 days are over."""
    made = stage.deploy()
    stage.turn()
    with stage.house.db.begin() as tx:
        tx.execute(text("UPDATE hostings SET launched_at = now() - interval '26 days'"))
    stage.turn(4)
    assert ("running", [1, 2]) == (stage.state(made), [order.attempt for order in stage.host.orders])


def test_two_keepers_launch_one_server(stage: Stage):
    """Who has the claim has it alone."""
    stage.deploy()
    keeper = Keeper(stage.house.db, everywhere(stage.host), stage.house.tokens, "http://edge.test")
    assert (1, 0) == (turn(keeper), turn(keeper))
    assert 1 == len(stage.host.orders)


POD: dict[str, Any] = {"provider": "runpod", "kind": "pod", "max_price_per_hour": 0.5}


def pod_view(price: str, **more: Any) -> HostView:
    """A pod as it is looked at."""
    return HostView(**{"phase": HostPhase.READY, "workers": {"total": 1}, "price_per_hour": Decimal(price)} | more)


def test_a_pod_is_shown_with_what_it_costs(stage: Stage):
    """Per hour as its provider charges, and since its launch; a pod is one worker."""
    made = stage.deploy(**POD)
    stage.host.view = pod_view("0.24")
    stage.turn(2)
    with stage.house.db.begin() as tx:
        tx.execute(text("UPDATE hostings SET launched_at = now() - interval '2 hours'"))
    seen = stage.seen(made)
    assert ("pod", 1, 1, 0.24, 0.5) == (
        seen.kind,
        seen.workers_min,
        seen.workers_max,
        seen.price_per_hour,
        seen.max_price_per_hour,
    )
    assert pytest.approx(0.48, abs=0.01) == seen.cost
    with pytest.raises(InvalidInputError, match="one worker"):
        stage.want(made, workers_max=3)


def test_what_is_beyond_repair_is_ended_and_launched_again(stage: Stage):
    """Ended first, so that never two cost at once; the vendor reads why meanwhile."""
    made = stage.deploy(**POD)
    stage.turn()
    stage.host.view = pod_view("0.24", phase=HostPhase.SICK, detail="Crash loop: five times", is_beyond_repair=True)
    stage.turn()
    assert ("ending", "Crash loop: five times", 1) == (
        stage.state(made),
        stage.seen(made).failure,
        len(stage.host.orders),
    )
    stage.turn()
    assert ("queued", {}) == (stage.state(made), stage.host.alive)
    with stage.house.db.begin() as tx:
        wait = tx.execute(text("SELECT extract(epoch FROM next_look_at - now()) FROM hostings")).scalar_one()
    assert 1 < wait <= 2
    stage.host.view = None
    stage.turn()
    assert ("running", None, [1, 2]) == (
        stage.state(made),
        stage.seen(made).failure,
        [order.attempt for order in stage.host.orders],
    )


def test_a_crash_loop_is_given_up_after_five_launches(stage: Stage):
    """Nothing costs any more; the vendor reads why, and may start it again."""
    made = stage.deploy(**POD)
    stage.host.view = pod_view("0.24", phase=HostPhase.SICK, detail="Crash loop", is_beyond_repair=True)
    stage.turn(MOST_FAILURES * 3 + 3)
    assert ("failed", "Crash loop", MOST_FAILURES, {}) == (
        stage.state(made),
        stage.seen(made).failure,
        len(stage.host.orders),
        stage.host.alive,
    )
    assert stage.seen(made).price_per_hour is None
    stage.host.view = None
    stage.want(made, wanted="running")
    stage.turn()
    assert "running" == stage.state(made)


def test_a_pod_that_grew_too_dear_is_ended(stage: Stage):
    """A lost answer may have made it, or RunPod has raised the price."""
    made = stage.deploy(**POD)
    stage.turn()
    stage.host.view = pod_view("0.51")
    stage.turn()
    assert ("ending", "It costs $0.5100 per hour, and $0.5000 was ordered as the most.") == (
        stage.state(made),
        stage.seen(made).failure,
    )


def test_stopped_while_it_was_beyond_repair_stays_stopped(stage: Stage):
    """What is wanted comes before what has failed."""
    made = stage.deploy(**POD)
    stage.turn()
    stage.host.view = pod_view("0.24", phase=HostPhase.SICK, detail="Crash loop", is_beyond_repair=True)
    stage.turn()
    stage.want(made, wanted="stopped")
    stage.turn(2)
    assert "stopped" == stage.state(made)


def test_each_kind_has_its_own_place(stage: Stage):
    """A marketplace without pods takes no order for one, and its keeper leaves those of others alone."""
    made = stage.deploy(**POD)
    endpoints = {("runpod", "endpoint"): stage.host}
    keeper = Keeper(stage.house.db, endpoints, stage.house.tokens, "http://edge.test")
    assert 0 == turn(keeper)
    wanted = DeploymentRequest.model_validate({"name": "x", "model_id": stage.model, **POD})
    with stage.house.db.begin() as tx, pytest.raises(InvalidInputError, match="runs no servers on runpod as pod"):
        deployments.create(tx, stage.house.tokens, stage.vendor, wanted, actor="test", hosts=endpoints)
    stage.turn()
    assert ("running", 0.5) == (stage.state(made), stage.host.orders[0].spec["max_price_per_hour"])


def test_a_model_without_a_run_cannot_be_run_here(stage: Stage):
    """The refusal says how to get there; nothing is left of the deployment."""
    with stage.house.db.begin() as tx:
        models.register(tx, stage.vendor, ModelRegistration(name="trend", task=Task.SIGNAL, version="2"))
    with pytest.raises(InvalidInputError, match="no model to run"):
        stage.deploy()
    assert "queued" == stage.state(stage.deploy(version="1"))
    with pytest.raises(NotFoundError):
        stage.deploy(version="7")


def test_another_vendors_deployment_does_not_exist(stage: Stage):
    """Neither to change, nor to read."""
    made = stage.deploy()
    with stage.house.db.begin() as tx, pytest.raises(NotFoundError):
        hostings.change(tx, "vnd_other", made, DeploymentChange(wanted="stopped"), actor="test")
    with pytest.raises(NotFoundError):
        hostings.logs(stage.house.db.begin, everywhere(stage.host), "vnd_other", made, 5)
    stage.turn()
    assert ["listening"] == hostings.logs(stage.house.db.begin, everywhere(stage.host), stage.vendor, made, 5)


@pytest.mark.parametrize(("least", "shown"), [(0, "asleep"), (1, "offline")])
def test_an_endpoint_that_sleeps_is_not_shown_as_offline(stage: Stage, least: int, shown: str):
    """Its last worker said goodbye; where a worker should be left, that is no sleep."""
    made = stage.deploy(provider="runpod", workers_min=least)
    stage.turn()
    with stage.house.db.begin() as tx:
        tx.execute(text("UPDATE deployments SET status = 'offline' WHERE id = :id"), {"id": made})
        [told] = showcase.find(tx, stage.model, viewer=stage.vendor).deployments
    assert shown == told.status
