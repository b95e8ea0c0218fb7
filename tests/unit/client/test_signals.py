from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd
import pyarrow as pa
import pytest

from mp_kit.client.deployments import DeploymentView
from mp_kit.client.marketplace import Marketplace
from mp_kit.contracts import SignalWrite
from mp_kit.errors import AttributionError, ForbiddenError, InvalidInputError, UnavailableError
from mp_kit.testing import FakeMarketplace


@pytest.fixture
def deployment(market: Marketplace) -> DeploymentView:
    return market.deployments.create("live", provider="byoc")


def row(hour: int = 0, **changed: object) -> dict:
    """A good signal."""
    base = {"symbol": "EURUSD", "timeframe": "1h", "decision": "BUY", "confidence": 0.5, "model_version": "1"}
    return base | {"timestamp": datetime(2026, 1, 5, hour, tzinfo=UTC)} | changed


def test_push_invalid_rows_are_all_told_and_nothing_is_sent(
    market: Marketplace, fake: FakeMarketplace, deployment: DeploymentView
):
    """Row, field and reason of each."""
    fake.requests.clear()
    rows = [row(), row(confidence=1.5), row(decision="MAYBE", timestamp="2026-01-05T00:00:00")]
    with pytest.raises(InvalidInputError, match="2 of 3 signals break the contract; row 1: confidence") as caught:
        market.signals.push(rows, deployment)
    places = [detail["loc"] for detail in caught.value.details]
    assert [[1, "confidence"], [2, "decision"], [2, "timestamp"]] == places
    assert [] == fake.requests


def test_push_twice_is_stored_once(market: Marketplace, fake: FakeMarketplace, deployment: DeploymentView):
    """The second push is told its duplicates with the first one's ids."""
    first = market.signals.push([row(0), row(1)], deployment)
    second = market.signals.push([row(0), row(1)], deployment)
    assert (2, 0, 0, 2) == (first.accepted, first.duplicates, second.accepted, second.duplicates)
    assert [r.signal_id for r in first.receipts] == [r.signal_id for r in second.receipts]
    assert 2 == len(fake.book.signals)


def test_push_other_decision_is_a_conflict(market: Marketplace, deployment: DeploymentView):
    """A signal, once given, can't be rewritten."""
    market.signals.push(row(), deployment)
    done = market.signals.push([row(decision="SELL"), row(1)], deployment)
    assert (1, 1, [0]) == (done.accepted, done.conflicts, [receipt.index for receipt in done.problems])


def test_push_retries_under_one_key(market: Marketplace, fake: FakeMarketplace, deployment: DeploymentView):
    """An answer lost on the way costs nothing."""
    fake.fail(UnavailableError("Down."), times=2, path="/api/signals")
    assert 1 == market.signals.push(row(), deployment).accepted


def test_push_chunks_keep_their_indexes(market: Marketplace, fake: FakeMarketplace, deployment: DeploymentView):
    """Receipts count over the whole push."""
    fake.requests.clear()
    done = market.signals.push([row(hour) for hour in range(5)], deployment, chunk=2)
    assert ([0, 1, 2, 3, 4], 3) == ([receipt.index for receipt in done.receipts], len(fake.requests))


def test_push_atomic_goes_in_one_request(market: Marketplace, fake: FakeMarketplace, deployment: DeploymentView):
    """All or none can't be cut into chunks."""
    market.signals.push(row(1), deployment)
    fake.requests.clear()
    with pytest.raises(InvalidInputError):
        market.signals.push([row(0), row(1, decision="SELL")], deployment, atomic=True, chunk=1)
    assert (1, 1) == (len(fake.requests), len(fake.book.signals))


@pytest.mark.parametrize(
    "make",
    [
        pd.DataFrame,
        lambda rows: pd.DataFrame(rows).set_index("timestamp"),
        pa.Table.from_pylist,
        lambda rows: [SignalWrite.model_validate(item) for item in rows],
        lambda rows: (item for item in rows),
    ],
    ids=["pandas", "pandas-index", "arrow", "contracts", "generator"],
)
def test_push_reads_what_vendors_have(market: Marketplace, deployment: DeploymentView, make):  # noqa: ANN001 - any maker
    """Frames, Arrow, contracts and dictionaries say the same."""
    assert 3 == market.signals.push(make([row(0), row(1), row(2)]), deployment).accepted


def test_push_missing_cells_are_missing_fields(market: Marketplace, fake: FakeMarketplace, deployment: DeploymentView):
    """NaN and NaT of a frame become absent fields, not values."""
    frame = pd.DataFrame(
        [row(0, event_time=pd.NaT, model_id=None), row(2, event_time=row(1)["timestamp"], model_id="m")]
    )
    market.signals.push(frame, deployment)
    assert {None, "m"} == {signal.model_id for signal in fake.book.signals.values()}


def test_push_third_dialect(market: Marketplace, fake: FakeMarketplace, deployment: DeploymentView):
    """``bar_ts`` rows are mapped."""
    old = {"model_id": "m", "symbol": "EURUSD", "timeframe": "1h", "bar_ts": "2026-01-05T00:00:00Z"}
    market.signals.push(old | {"decision": "HOLD", "confidence": 0.1, "meta": {"model_version": "7"}}, deployment)
    assert ["7"] == [signal.model_version for signal in fake.book.signals.values()]


def test_push_claim_of_another_vendor_is_refused(market: Marketplace, deployment: DeploymentView):
    """Never silently rewritten."""
    with pytest.raises(AttributionError):
        market.signals.push(row(vendor_id="ven_other"), deployment)


def test_push_with_the_vendor_key_says_what_to_pass(market: Marketplace):
    """Signals need a deployment's token."""
    with pytest.raises(ForbiddenError) as caught:
        market.signals.push(row())
    assert "token=deployment" in caught.value.hint


def test_push_with_a_deployment_read_again_says_how_to_get_a_token(market: Marketplace, deployment: DeploymentView):
    """The token is given out once."""
    again = market.deployments.get(deployment.deployment_id)
    with pytest.raises(InvalidInputError, match="holds no token"):
        market.signals.push(row(), again)


@pytest.mark.parametrize("given", [7, "EURUSD", None, [1, 2]])
def test_push_nonsense_is_told(market: Marketplace, given: object):
    """The hint names the columns, or the type of a row."""
    with pytest.raises(InvalidInputError):
        market.signals.push(given)


def test_push_nothing_sends_nothing(market: Marketplace, fake: FakeMarketplace):
    """An empty batch is no request."""
    assert (0, []) == (market.signals.push([]).accepted, fake.requests)


def test_list_filters(market: Marketplace, deployment: DeploymentView):
    """By symbol, with attribution."""
    market.signals.push([row(0), row(0, symbol="GBPUSD")], deployment)
    found = market.signals.list("GBPUSD")
    assert [("GBPUSD", deployment.deployment_id)] == [(signal.symbol, signal.deployment_id) for signal in found]
