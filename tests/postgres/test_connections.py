"""Vendors' credentials in Postgres: sealed per vendor, opened for the jobs that ask for them, lost by no race."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from desks import publish
from pydantic import SecretStr
from sqlalchemy import text

from mp_kit.contracts import ConnectionName, ConnectionStatus, TrainingRequest, TrainingSpec
from mp_kit.errors import ConflictError, CredentialError, RateLimitedError
from mp_kit.server.house import House
from mp_kit.server.providers.base import Handle, LaunchOrder, Observed, Phase
from mp_kit.server.providers.probes import Probes, Verdict
from mp_kit.server.services import connections, runs, supervisor, vendors
from mp_kit.server.store import runs as run_rows
from mp_kit.server.store.engine import Tx

KEYS = {
    "runpod": "rpa_0123456789abcdefghijRP",
    "huggingface": "hf_0123456789abcdefghijHF",
    "wandb": "0123456789abcdefghijklmnWB",
}
SPEC = {"round_id": "rnd", "task": "signal"}


@pytest.fixture
def new_vendor(house: House) -> Callable[[], str]:
    """A factory of vendors."""
    names = iter(range(1_000_000))

    def create() -> str:
        with house.db.begin() as tx:
            name = f"vendor {next(names)} {datetime.now(UTC).isoformat()}"
            return vendors.create(tx, house.tokens, name, actor="test").vendor_id

    return create


def put(house: House, vendor_id: str, *names: str, value: str | None = None) -> None:
    for name in names:
        with house.db.begin() as tx:
            secret = SecretStr(value or KEYS[name])
            connections.put(tx, house.vault, vendor_id, name, secret, actor="test")


def opened(house: House, vendor_id: str, name: str) -> str:
    with house.db.begin() as tx:
        return connections.secret(tx, house.vault, vendor_id, name).get_secret_value()


def data_keys(tx: Tx, vendor_id: str) -> list[str]:
    found = tx.execute(text("SELECT wrapped_key FROM vendor_data_keys WHERE vendor_id = :v"), {"v": vendor_id})
    return list(found.scalars())


def spec(**changes: Any) -> TrainingSpec:
    return TrainingSpec.model_validate(SPEC | changes)


class Asked(Probes):
    """Probes that do something while they are asked."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__("http://x", "http://x", "http://x")
        object.__setattr__(self, "act", act)

    def ask(self, name: ConnectionName, value: SecretStr) -> Verdict:  # noqa: ARG002 - the signature is the class's
        """Yes."""
        self.act()  # type: ignore[attr-defined]
        return Verdict(ConnectionStatus.OK, "yes")


def test_no_transaction_is_open_while_the_service_is_asked(house: House, new_vendor: Callable[[], str]):
    """A slow service must not hold a database connection."""
    vendor = new_vendor()
    put(house, vendor, "runpod")
    depths: list[int] = []
    depth = 0

    @contextmanager
    def begin() -> Iterator[Tx]:
        nonlocal depth
        with house.db.begin() as tx:
            depth += 1
            yield tx
            depth -= 1

    probes = Asked(lambda: depths.append(depth))
    found = connections.test(begin, house.vault, probes, vendor, "runpod", actor="test")
    assert ([0], "ok") == (depths, found.status)


@pytest.mark.parametrize("change", ["set", "removed", "set to the same"])
def test_a_verdict_counts_for_the_key_that_was_asked_about(house: House, new_vendor: Callable[[], str], change: str):
    """What changed during the test is not called good."""
    vendor = new_vendor()
    put(house, vendor, "runpod")

    def act() -> None:
        if change == "removed":
            with house.db.begin() as tx:
                connections.remove(tx, vendor, "runpod", actor="test")
        else:
            put(house, vendor, "runpod", value=KEYS["runpod"] + ("" if change == "set to the same" else "2"))

    with pytest.raises(ConflictError, match="changed during its test"):
        connections.test(house.db.begin, house.vault, Asked(act), vendor, "runpod", actor="test")
    with house.db.begin() as tx:
        assert {"unchecked"} >= {known.status for known in connections.list_of(tx, vendor)}


def test_only_so_many_services_are_asked_at_once():
    """The third is told to come back; afterwards there is room again."""
    probes = Probes("http://127.0.0.1:9", "http://127.0.0.1:9", "http://127.0.0.1:9")
    for _ in range(2):
        assert probes._places.acquire(blocking=False)
    with pytest.raises(RateLimitedError):
        probes.ask(ConnectionName.RUNPOD, SecretStr("x"))
    for _ in range(2):
        probes._places.release()
    for _ in range(3):
        assert ConnectionStatus.UNREACHABLE == probes.ask(ConnectionName.RUNPOD, SecretStr("x")).status


def test_a_data_key_lives_as_long_as_it_has_something_to_open(house: House, new_vendor: Callable[[], str]):
    """One for a vendor's first connection, the same for the second, none after the last."""
    vendor = new_vendor()
    seen = []
    for names in (["runpod"], ["wandb"]):
        put(house, vendor, *names)
        with house.db.begin() as tx:
            seen.append(data_keys(tx, vendor))
    assert (1, seen[0]) == (len(seen[0]), seen[1])
    with house.db.begin() as tx:
        connections.remove(tx, vendor, "runpod", actor="test")
        assert seen[0] == data_keys(tx, vendor)
        connections.remove(tx, vendor, "wandb", actor="test")
        assert [] == data_keys(tx, vendor)


def test_first_settings_at_once_share_a_data_key(house: House, new_vendor: Callable[[], str]):
    """Three at once, many times, with removals between: what is stored always opens."""
    vendor = new_vendor()
    start = threading.Barrier(3)

    def churn(name: str) -> list[bool]:
        start.wait(timeout=30)
        good = []
        for turn in range(15):
            put(house, vendor, name, value=f"{KEYS[name]}{turn}")
            good.append(opened(house, vendor, name) == f"{KEYS[name]}{turn}")
            with house.db.begin() as tx:
                connections.remove(tx, vendor, name, actor="test")
        return good

    with ThreadPoolExecutor(3) as pool:
        found = [good for goods in pool.map(churn, KEYS) for good in goods]
    assert [True] * 45 == found
    with house.db.begin() as tx:
        assert [] == data_keys(tx, vendor)


JOBS = {
    "neither": ({}, {}),
    "the hub": ({"hf_repo_id": "acme/trend"}, {"HF_TOKEN": KEYS["huggingface"]}),
    "logging": ({"wandb": {"enabled": True}}, {"WANDB_API_KEY": KEYS["wandb"]}),
    "both": (
        {"hf_repo_id": "acme/trend", "wandb": {"enabled": True}},
        {"HF_TOKEN": KEYS["huggingface"], "WANDB_API_KEY": KEYS["wandb"]},
    ),
}


@pytest.mark.parametrize("case", JOBS)
def test_a_job_gets_what_its_spec_asks_for(house: House, new_vendor: Callable[[], str], case: str):
    """And nothing else; RunPod's key never."""
    asked, expected = JOBS[case]
    vendor = new_vendor()
    put(house, vendor, *KEYS)
    with house.db.begin() as tx:
        assert expected == connections.job_env(tx, house.vault, vendor, spec(**asked))


@pytest.mark.parametrize("case", ["the hub", "logging", "both"])
def test_a_job_gets_nothing_of_another_vendor(house: House, new_vendor: Callable[[], str], case: str):
    """A missing connection is an error that says how to mend it."""
    put(house, new_vendor(), *KEYS)
    with house.db.begin() as tx, pytest.raises(CredentialError, match="mp connections set"):
        connections.job_env(tx, house.vault, new_vendor(), spec(**JOBS[case][0]))


class Recorder:
    """A provider that keeps the orders."""

    def __init__(self) -> None:
        self.orders: list[LaunchOrder] = []

    def launch(self, order: LaunchOrder) -> Handle:
        """Takes an order."""
        self.orders.append(order)
        return Handle(f"{order.run_id}/{order.attempt}", order.vendor_id)

    def observe(self, handles: Sequence[Handle]) -> Mapping[str, Observed]:
        """Everything runs."""
        return {handle.ref: Observed(Phase.RUNNING) for handle in handles}


@pytest.fixture(scope="module")
def current_round(house: House) -> None:
    """A current round without files."""
    with house.db.begin() as tx:
        publish(tx, "rnd", current=True)


def supervised(house: House, vendor_id: str, provider: Any, **asked: Any) -> Any:
    """Orders a run, has it looked at once, and gives its row."""
    request = TrainingRequest.model_validate(SPEC | {"provider": "local"} | asked)
    with house.db.begin() as tx:
        made = runs.create(tx, vendor_id, request, idempotency_key=None, now=datetime.now(UTC), providers={"local"})
    url = "http://edge.example"
    desk = supervisor.Desk(house.db, house.store, {"local": provider}, house.tokens.run_token, url, house.vault)
    supervisor.cycle(desk)
    with house.db.begin() as tx:
        return run_rows.find(tx, made.run_id)


@pytest.mark.usefixtures("current_round")
def test_a_launch_without_the_connection_fails_for_good(house: House, new_vendor: Callable[[], str]):
    """Nothing is started, and the run's failure says what to do."""
    provider = Recorder()
    row = supervised(house, new_vendor(), provider, hf_repo_id="acme/trend")
    assert ("failed", []) == (row.state, provider.orders)
    assert row.failure.startswith("It could not be launched: Pushing to acme/trend needs")
    assert "mp connections set huggingface" in row.failure


@pytest.mark.usefixtures("current_round")
def test_a_launch_hands_the_key_to_the_job_alone(house: House, new_vendor: Callable[[], str]):
    """It is in the order's environment; neither its repr nor any column has it."""
    vendor, provider = new_vendor(), Recorder()
    put(house, vendor, *KEYS)
    row = supervised(house, vendor, provider, hf_repo_id="acme/trend")
    [order] = provider.orders
    assert ("launching", KEYS["huggingface"]) == (row.state, order.env["HF_TOKEN"])
    with house.db.begin() as tx:
        stored = tx.execute(text("SELECT string_agg(r::text, ' ') FROM training_runs r")).scalar_one()
        told = tx.execute(text("SELECT string_agg(e::text, ' ') FROM run_events e")).scalar_one()
    assert not [key for key in KEYS.values() if key in f"{order!r} {stored} {told}"]
