"""A push is on disk before it is sent: offline, crashes, refusals and other senders."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from mp_kit.client.deployments import DeploymentView
from mp_kit.client.http import Patience
from mp_kit.client.marketplace import Marketplace
from mp_kit.client.sending import read_outcome, write_error
from mp_kit.errors import (
    AttributionError,
    AuthError,
    ConflictError,
    InternalError,
    InvalidInputError,
    NetworkError,
    RateLimitedError,
    SetupError,
    UnavailableError,
)
from mp_kit.testing import FakeMarketplace

BAR = datetime(2026, 1, 5, tzinfo=UTC)


def rows(*hours: int, **changed: Any) -> list[dict[str, Any]]:
    base = {"symbol": "EURUSD", "timeframe": "1h", "decision": "BUY", "confidence": 0.5, "model_version": "1"}
    return [base | {"timestamp": BAR + timedelta(hours=hour)} | changed for hour in hours]


def open_market(fake: FakeMarketplace, folder: Path) -> Marketplace:
    """Another process at the same outboxes, as far as they can tell."""
    return Marketplace(
        fake.url,
        fake.api_key,
        transport=fake.transport,
        sleep=lambda _: None,
        outbox=folder,
        patience=Patience(attempts=2),
    )


@pytest.fixture
def on_disk(fake: FakeMarketplace, tmp_path: Path) -> Marketplace:
    return open_market(fake, tmp_path / "outbox")


@pytest.fixture
def deployment(on_disk: Marketplace) -> DeploymentView:
    return on_disk.deployments.create("live", provider="byoc")


def down(fake: FakeMarketplace, times: int = 2) -> None:
    fake.fail(NetworkError("Down."), times=times, path="/api/signals")


def stored(fake: FakeMarketplace) -> list[datetime]:
    return [signal.event_time for signal in fake.book.signals.values()]


def test_offline_push_waits_and_the_next_one_sends_it_first(
    on_disk: Marketplace, fake: FakeMarketplace, deployment: DeploymentView
):
    """Oldest first; the result says what waits and why."""
    down(fake)
    first = on_disk.signals.push(rows(0, 1), deployment)
    assert (0, 2, "Down.") == (first.accepted, first.pending, first.reason)
    assert "pending" in repr(first)
    second = on_disk.signals.push(rows(2), deployment)
    assert (1, 0, None) == (second.accepted, second.pending, second.reason)
    assert [BAR, BAR + timedelta(hours=1), BAR + timedelta(hours=2)] == stored(fake)
    assert 0 == len(on_disk.signals.pending())


def test_waiting_signals_outlive_the_process(
    on_disk: Marketplace, fake: FakeMarketplace, deployment: DeploymentView, tmp_path: Path
):
    """Another process lists and flushes them; without a token it says what it needs."""
    down(fake)
    on_disk.signals.push(rows(0, 1), deployment)
    later = open_market(fake, tmp_path / "outbox")
    waiting = later.signals.pending()
    assert [(deployment.deployment_id, 2, 1)] == [(one["deployment"], one["signals"], one["tries"]) for one in waiting]
    nothing = later.signals.flush()
    assert 2 == nothing.pending
    assert f"mp link-infra --deployment {deployment.deployment_id}" in (nothing.reason or "")
    done = later.signals.flush(deployment)
    assert (2, 0) == (done.accepted, done.pending)
    assert 2 == len(stored(fake))


def test_answer_lost_on_the_way_doubles_nothing(
    on_disk: Marketplace, fake: FakeMarketplace, deployment: DeploymentView, monkeypatch: pytest.MonkeyPatch
):
    """The process dies between the marketplace's commit and its own: the same bytes go again under the same key."""
    box = on_disk.signals._boxes.of(deployment.deployment_id)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(box, "settle", die)
        with pytest.raises(KeyboardInterrupt):
            on_disk.signals.push(rows(0), deployment)
    assert 1 == len(on_disk.signals.pending())
    assert 1 == on_disk.signals.flush(deployment).accepted
    assert [BAR] == stored(fake)


@pytest.mark.parametrize(
    "error", [RateLimitedError("Slow down.", retry_after=3600), UnavailableError("Busy.", retry_after=900)]
)
def test_long_retry_after_is_not_waited_for(
    on_disk: Marketplace, fake: FakeMarketplace, deployment: DeploymentView, error: Any
):
    """One request, then the outbox keeps them."""
    fake.requests.clear()
    fake.fail(error, path="/api/signals")
    assert 1 == on_disk.signals.push(rows(0), deployment).pending
    assert 1 == len(fake.requests)


def test_bad_token_keeps_what_was_pushed(on_disk: Marketplace, fake: FakeMarketplace, deployment: DeploymentView):
    """The error says what waits and how it leaves; a good token sends it."""
    fake.fail(AuthError("Expired."), path="/api/signals")
    with pytest.raises(AuthError, match="Expired") as caught:
        on_disk.signals.push(rows(0), deployment)
    assert "1 signals wait in the outbox: `mp signals flush`" in caught.value.hint
    assert "m.deployments.token(deployment_id, rotate=True)" in caught.value.hint
    assert 1 == on_disk.signals.flush(deployment).accepted


def test_refused_for_good_is_kept_apart(on_disk: Marketplace, deployment: DeploymentView):
    """With its reason; it does not hold up what comes after."""
    with pytest.raises(AttributionError):
        on_disk.signals.push(rows(0, vendor_id="ven_other"), deployment)
    on_disk.signals.push(rows(1), deployment)
    on_disk.signals.push(rows(1, decision="SELL"), deployment)
    found = on_disk.signals.rejected(forget=True)
    assert ["rejected", "conflict"] == [one["status"] for one in found]
    assert "ven_other" == found[0]["signal"]["vendor_id"]
    assert (0, 0) == (len(on_disk.signals.rejected()), len(on_disk.signals.pending()))


def test_poison_does_not_hold_up_the_others(on_disk: Marketplace, fake: FakeMarketplace, deployment: DeploymentView):
    """What trips the marketplace stays and is told; what is behind it leaves."""
    fake.fail(InternalError("Tripped."), path="/api/signals")
    with pytest.raises(InternalError):
        on_disk.signals.push(rows(0, 1, 2), deployment, chunk=1)
    assert 2 == len(stored(fake))
    assert ["internal: Tripped."] == [one["reason"] for one in on_disk.signals.pending()]


def test_future_bar_is_refused_before_sending(on_disk: Marketplace, fake: FakeMarketplace, deployment: DeploymentView):
    """By the server's own bound; the hint speaks of the clock."""
    fake.requests.clear()
    soon = datetime.now(UTC) + timedelta(minutes=6)
    with pytest.raises(InvalidInputError, match="5 minutes in the future") as caught:
        on_disk.signals.push(rows(0, event_time=soon), deployment)
    assert "clock" in caught.value.hint
    assert [] == fake.requests


def test_large_metadata_is_refused_before_sending(on_disk: Marketplace, deployment: DeploymentView):
    """Row and field are named."""
    with pytest.raises(InvalidInputError) as caught:
        on_disk.signals.push(rows(0) + rows(1, metadata={"a": "x" * 20_000}), deployment)
    assert [[1, "metadata"]] == [detail["loc"] for detail in caught.value.details]


def test_large_rows_make_several_requests(on_disk: Marketplace, fake: FakeMarketplace, deployment: DeploymentView):
    """By bytes, not only by rows."""
    fake.requests.clear()
    big = rows(*range(1200), metadata={"a": "x" * 16_000})
    assert 1200 == on_disk.signals.push(big, deployment).accepted
    assert 2 == len(fake.requests)


def test_atomic_push_that_is_too_large_is_refused(on_disk: Marketplace, deployment: DeploymentView):
    """It can't be cut; the message names what to leave out."""
    big = rows(0) * 100_001
    with pytest.raises(InvalidInputError) as caught:
        on_disk.signals.push(big, deployment, atomic=True)
    assert "--atomic" in caught.value.hint


@pytest.mark.parametrize("chunk", [0, -1, 100_001])
def test_chunk_out_of_bounds(on_disk: Marketplace, deployment: DeploymentView, chunk: int):
    """Told before anything is kept."""
    with pytest.raises(InvalidInputError, match="chunk"):
        on_disk.signals.push(rows(0), deployment, chunk=chunk)
    assert 0 == len(on_disk.signals.pending())


def test_without_any_token(fake: FakeMarketplace, tmp_path: Path):
    """Nothing is kept for nobody."""
    market = Marketplace(fake.url, transport=fake.transport, outbox=tmp_path)
    with pytest.raises(SetupError) as caught:
        market.signals.push(rows(0))
    assert "token=deployment" in caught.value.hint


def test_two_pushers_share_one_outbox(fake: FakeMarketplace, deployment: DeploymentView, tmp_path: Path):
    """Each gets the answers of its own signals, whoever sent them."""
    found: dict[int, int] = {}

    def push(number: int) -> None:
        market = open_market(fake, tmp_path / "outbox")
        for hour in range(6):
            done = market.signals.push(rows(number * 100 + hour), deployment)
            found[number] = found.get(number, 0) + done.accepted

    threads = [threading.Thread(target=push, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert dict.fromkeys(range(4), 6) == found
    assert 24 == len(stored(fake))


def test_result_shows_refused_rows_first(on_disk: Marketplace, deployment: DeploymentView):
    """Plain and in a notebook, with their reasons; all rows as a frame."""
    on_disk.signals.push(rows(3), deployment)
    done = on_disk.signals.push(rows(0, 1) + rows(3, decision="SELL"), deployment)
    assert [2, 0, 1] == [row["row"] for row in done.rows()]
    table = repr(done).splitlines()
    assert "conflict" in next(line for line in table if line.startswith("2 "))
    assert done._repr_html_().index("conflict") < done._repr_html_().index("accepted</td>", 1000)
    assert ["conflict", "accepted", "accepted"] == list(done.to_pandas()["status"])


def test_error_comes_back_from_another_process():
    """As the same class with the same words."""
    error = ConflictError("No.", hint="Mend.", details=[{"loc": [1], "msg": "x"}])
    again = read_outcome(write_error(error))
    assert isinstance(again, ConflictError)
    assert (error.message, error.hint, error.details) == (again.message, again.hint, again.details)


def test_verify_proves_what_was_pushed(on_disk: Marketplace, deployment: DeploymentView, tmp_path: Path):
    """Online, and from a saved file without the network."""
    on_disk.signals.push(rows(0, 1), deployment)
    on_disk.signals.push(rows(2, metadata={"z": 1e300}), deployment)
    done = on_disk.signals.verify(save=tmp_path / "proof.json")
    assert (True, 3, 2) == (done.ok, done.reports[0].signals, done.reports[0].receipts)
    assert "holds" in repr(done)
    offline = on_disk.signals.verify(deployment.deployment_id, file=tmp_path / "proof.json")
    assert offline.ok


def test_verify_tells_what_was_changed(on_disk: Marketplace, fake: FakeMarketplace, deployment: DeploymentView):
    """A signal rewritten by whoever keeps it."""
    on_disk.signals.push(rows(0, 1), deployment)
    key, signal = next(iter(fake.book.signals.items()))
    fake.book.signals[key] = signal.model_copy(update={"confidence": 0.9})
    done = on_disk.signals.verify()
    assert not done.ok
    assert "BROKEN" in repr(done)


@pytest.mark.parametrize("verified_before", [True, False])
def test_verify_tells_a_cut_end(
    on_disk: Marketplace, fake: FakeMarketplace, deployment: DeploymentView, *, verified_before: bool
):
    """The receipt of the push is remembered, so the marketplace can't forget its last batch."""
    on_disk.signals.push(rows(0), deployment)
    on_disk.signals.push(rows(1), deployment)
    if verified_before:
        assert on_disk.signals.verify().ok
    fake.book.receipts[deployment.deployment_id].pop()
    fake.book.signals.popitem()
    assert "cut or forked" in repr(on_disk.signals.verify())


@pytest.fixture
def meanwhile(
    fake: FakeMarketplace, deployment: DeploymentView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, tuple[int, ...]]:
    """Hours that another process pushes, once, as soon as a listing has been answered; by the listing's path."""
    real, due = fake.transport.handler, dict[str, tuple[int, ...]]()

    def answer(request: httpx.Request) -> Any:
        said = real(request)
        hours = due.pop(request.url.path, ()) if request.method == "GET" else ()
        if hours:
            open_market(fake, tmp_path / "other").signals.push(rows(*hours), deployment)
        return said

    monkeypatch.setattr(fake.transport, "handler", answer)
    return due


def test_verify_while_another_pushes(on_disk: Marketplace, deployment: DeploymentView, meanwhile: dict[str, Any]):
    """Between the listings: what was listed whole is proved now, what came behind it next time."""
    on_disk.signals.push(rows(0), deployment)
    meanwhile |= {"/api/signals/receipts": (1, 2), "/api/signals": (3,)}
    done = on_disk.signals.verify()
    assert (True, 3, 2) == (done.ok, done.reports[0].signals, done.reports[0].receipts)
    done = on_disk.signals.verify()
    assert (True, 4, 3) == (done.ok, done.reports[0].signals, done.reports[0].receipts)


def test_verify_a_batch_that_was_half_listed(
    on_disk: Marketplace,
    fake: FakeMarketplace,
    deployment: DeploymentView,
    meanwhile: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
):
    """It came between two pages: it, and what came behind it, waits for the next time."""
    on_disk.signals.push(rows(0), deployment)
    meanwhile["/api/signals/receipts"] = (1, 2)
    whole = fake.book.said
    with monkeypatch.context() as patch:
        patch.setattr(fake.book, "said", lambda fits: [one for one in whole(fits) if one.event_time.hour != 1])
        done = on_disk.signals.verify()
    assert (True, 1, 1) == (done.ok, done.reports[0].signals, done.reports[0].receipts)
    assert 3 == on_disk.signals.verify().reports[0].signals


def test_verify_forgets_no_receipt_that_came_meanwhile(
    on_disk: Marketplace, fake: FakeMarketplace, deployment: DeploymentView, monkeypatch: pytest.MonkeyPatch
):
    """The outbox keeps the newest receipt, though an older chain was verified; its end cannot be cut off."""
    on_disk.signals.push(rows(0), deployment)
    real, due = fake.transport.handler, [rows(1)]

    def answer(request: httpx.Request) -> Any:
        said = real(request)
        if request.url.path == "/api/rounds/keys" and due:
            on_disk.signals.push(due.pop(), deployment)
        return said

    monkeypatch.setattr(fake.transport, "handler", answer)
    assert on_disk.signals.verify().ok
    fake.book.receipts[deployment.deployment_id].pop()
    fake.book.signals.popitem()
    assert "cut or forked" in repr(on_disk.signals.verify())


def test_verify_tells_signals_without_a_receipt(
    on_disk: Marketplace, fake: FakeMarketplace, deployment: DeploymentView
):
    """Nobody's push explains them: neither listing has their receipt."""
    on_disk.signals.push(rows(0), deployment)
    stored = next(iter(fake.book.signals.values()))
    added = stored.model_copy(update={"signal_id": "sig_ff_0", "symbol": "FORGED"})
    fake.book.stored["forged",] = added
    assert "1 signals have no receipt, sig_ff_0 among them" in repr(on_disk.signals.verify())


def test_verify_nothing(on_disk: Marketplace):
    """No signals, no receipts, no problem."""
    assert on_disk.signals.verify().ok


NO_PROOFS = {"absent": None, "text": b"hello", "other": b'{"api_url": 1}'}


@pytest.mark.parametrize("name", NO_PROOFS)
def test_verify_file_that_is_none(on_disk: Marketplace, tmp_path: Path, name: str):
    """The error names it."""
    path = tmp_path / "proof.json"
    content = NO_PROOFS[name]
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Exception, match="proof"):
        on_disk.signals.verify(file=path)


BAD_KEYS = {
    "ключ": "printable ASCII",
    "k" * 256: "1 to 255",
    "k" * 254: "254 characters.* in 3 requests 253 are the most",
}


@pytest.mark.parametrize("key", BAD_KEYS, ids=len)
def test_a_key_that_is_too_long_is_refused_before_anything_is_kept(
    on_disk: Marketplace, fake: FakeMarketplace, deployment: DeploymentView, key: str
):
    """With the numbers that requests add to it; the longest that fits goes."""
    with pytest.raises(InvalidInputError, match=BAD_KEYS[key]):
        on_disk.signals.push(rows(0, 1, 2), deployment, chunk=1, idempotency_key=key)
    assert ([], {}) == (list(on_disk.signals.pending()), fake.book.signals)
    done = on_disk.signals.push(rows(0, 1, 2), deployment, chunk=1, idempotency_key="k" * 253)
    assert (3, 0) == (done.accepted, done.pending)
