"""Two at once: what one transaction at a time would do, whoever comes first."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import text

from mp_kit.contracts import DeploymentRequest, ManifestFile, ModelRegistration, Stage
from mp_kit.errors import DatabaseDownError, InvalidInputError
from mp_kit.server.house import House
from mp_kit.server.services import deployments, models, rounds, signals, vendors
from mp_kit.server.services.tokens import Principal
from mp_kit.server.store.deployments import set_model
from mp_kit.server.store.engine import Tx, driver
from tests.support.gates import Candidate, open_all


def at_once(house: House, *deeds: Callable[[Tx], Any]) -> list[Any]:
    """Runs each deed in a transaction of its own; all have begun before the first one acts."""
    barrier = Barrier(len(deeds))

    def one(deed: Callable[[Tx], Any]) -> Any:
        with house.db.begin() as tx:
            tx.execute(text("SELECT 1"))
            barrier.wait(timeout=30)
            return deed(tx)

    with ThreadPoolExecutor(len(deeds)) as pool:
        return list(pool.map(one, deeds))


def draft(name: str) -> rounds.Draft:
    """A round; its file need not exist here."""
    day = datetime(2026, 1, 2, tzinfo=UTC)
    file = ManifestFile(name="train.parquet", type="train", size_bytes=1, sha256="0" * 64, rows=1, max_time=day)
    facts = {"name": name, "timeframe": "1d", "symbols": ["EURUSD"], "horizon": 5, "embargo": 5}
    return rounds.Draft(manifest=facts | {"source": {"kind": "test"}, "code_version": "0"}, files=[file])


def test_the_same_round_published_by_two(house: House):
    """One creates it, the other finds it; neither fails."""
    same = draft("raced")
    done = at_once(house, *[lambda tx: rounds.publish(tx, house.signer, same, actor="test")] * 4)
    assert 1 == len({one.round_id for one in done})
    assert [False, False, False, True] == sorted(one.created for one in done)


def test_two_rounds_published_at_once_leave_one_current(house: House):
    """Both are there, and exactly one of them is current."""
    wanted = [draft(f"rival {number}") for number in range(4)]
    at_once(house, *[lambda tx, one=one: rounds.publish(tx, house.signer, one, actor="test") for one in wanted])
    with house.db.begin() as tx:
        names = [one.name for one in rounds.newest(tx, 500) if one.is_current]
    assert 1 == len(names)
    assert names[0].startswith("rival")


def test_two_versions_go_to_prod_at_once(house: House):
    """The later one retires the earlier one: at no time two, and no error."""
    with house.db.begin() as tx:
        vendor_id = vendors.create(tx, house.tokens, "two at once", actor="test").vendor_id
        made = [
            models.register(tx, vendor_id, ModelRegistration(name="m", task="signal", version=str(number)))
            for number in range(3)
        ]
        for number, one in enumerate(made):
            wanted = DeploymentRequest(name=f"live {number}", provider="byoc")
            placed = deployments.create(tx, house.tokens, vendor_id, wanted, actor="test").deployment_id
            set_model(tx, placed, one.model_id, one.version_id)
            open_all(tx, Candidate(vendor_id, one.model_id, one.version_id, placed, str(number)))
            models.change_stage(tx, vendor_id, one.model_id, one.version_id, Stage.PILOT, actor="test", reason=None)
    at_once(
        house,
        *[
            lambda tx, one=one: models.change_stage(
                tx, vendor_id, one.model_id, one.version_id, Stage.PROD, actor="test", reason=None
            )
            for one in made
        ],
    )
    with house.db.begin() as tx:
        listed = tx.execute(
            text("SELECT stage FROM model_versions WHERE model_id = :id ORDER BY stage"), {"id": made[0].model_id}
        )
        assert ["prod", "retired", "retired"] == list(listed.scalars())


def test_a_statement_on_the_driver_fails_like_any_other(house: House):
    """What psycopg raises itself is told in our errors too."""
    with pytest.raises(InvalidInputError), house.db.begin() as tx:
        driver(tx).execute("SELECT 'x'::int")
    with pytest.raises(DatabaseDownError), house.db.begin() as tx:
        driver(tx).execute("SELECT pg_terminate_backend(pg_backend_pid())")


def test_errors_name_no_parameter(house: House):
    """Errors are logged, and parameters hold hashes."""
    with pytest.raises(Exception, match="nowhere") as caught, house.db.begin() as tx:
        tx.execute(text("SELECT 1 FROM nowhere WHERE name = :secret"), {"secret": "hush"})
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("twin", "reused", "accepted"), [(True, [None, None, None], 3), (False, [None, True, True], 3)]
)
def test_one_idempotency_key_used_by_three_at_once(house: House, twin: bool, reused: list[bool | None], accepted: int):
    """The same body gets the first answer; another body is stored, and is told that the key was not its own."""
    rows = [_signal(0 if twin else number) for number in range(3)]
    with house.db.begin() as tx:
        made = vendors.create(tx, house.tokens, f"key {twin}", actor="test").vendor_id
        wanted = DeploymentRequest(name="live", provider="byoc")
        deployment = deployments.create(tx, house.tokens, made, wanted, actor="test").deployment_id
    who = Principal("deployment", vendor_id=made, deployment_id=deployment, scope={"routes": ["signals:store"]})
    batches = [signals.Batch(items=[row], body=json.dumps(row).encode(), key="k") for row in rows]
    told = at_once(
        house, *[lambda tx, batch=batch: signals.store(tx, who, batch, signer=house.signer) for batch in batches]
    )
    assert reused == sorted((one.idempotency_key_reused for one in told), key=bool)
    assert accepted == sum(one.accepted for one in told)


def _signal(number: int) -> dict[str, Any]:
    instant = f"2026-01-05T1{number}:00:00Z"
    row = {"symbol": "EURUSD", "timeframe": "1h", "decision": "BUY", "confidence": 0.5, "model_version": "1"}
    return row | {"timestamp": instant}
