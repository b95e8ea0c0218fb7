"""The marketplace over each store: rounds published and pulled, a run's artifacts taken in."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text
from walks import write_bars

from mp_kit import Marketplace
from mp_kit.contracts.training import ArtifactRequest, RunOutcome, TrainingRequest
from mp_kit.errors import ConflictError, NotFoundError
from mp_kit.server.providers.base import Handle
from mp_kit.server.services import datasets, publication, reports, runs, runs_claims, vendors
from mp_kit.server.services.publication import RoundOrder
from mp_kit.server.services.runs_states import Step

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def published(shelf: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A current round of one symbol; its bars are told apart by store, so that each publishes anew."""
    house = shelf.house
    order = RoundOrder(source=str(write_bars(tmp_path_factory.mktemp("bars"), "EURUSD")), name=f"in {shelf.kind}")
    first = publication.run(house.db.begin, house.store, house.signer, order, actor="test")
    again = publication.run(house.db.begin, house.store, house.signer, order, actor="test")
    assert (True, False, 0) == (first.created, again.created, again.stored)
    return first.round_id


@pytest.fixture
def vendor(shelf: Any) -> Any:
    """A vendor, freshly made."""
    with shelf.house.db.begin() as tx:
        return vendors.create(tx, shelf.house.tokens, f"vendor {datetime.now(UTC).timestamp()}", actor="test")


def test_round_is_pulled_by_signed_urls(
    shelf: Any, published: str, vendor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The edge signs, the store serves, the client verifies; in S3's case no byte passes the edge."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with Marketplace(shelf.house.settings.base_url, vendor.api_key) as market:
        pulled = market.data.pull(published, tmp_path / "pulled", progress=False)
    manifest = json.loads((pulled.path / "manifest.json").read_bytes())
    for file in manifest["files"]:
        assert file["sha256"] == hashlib.sha256((pulled.path / file["name"]).read_bytes()).hexdigest()
    with shelf.house.db.begin() as tx:
        signed = datasets.sign(tx, shelf.store, published, None, grantee="test", vendor_id=None)
    hosts = {urlsplit(url.url).netloc for url in signed.urls}
    edge = urlsplit(shelf.house.settings.base_url).netloc
    assert (shelf.kind == "local") == (hosts == {edge})
    assert 1 == len(hosts)


def test_every_grant_is_a_row_even_from_the_cache(shelf: Any, published: str):
    """The URLs are the same while they last; who got them is noted each time."""
    with shelf.house.db.begin() as tx:
        first, second = (
            datasets.sign(tx, shelf.store, published, None, grantee=f"cached {i}", vendor_id=None) for i in range(2)
        )
        count = tx.execute(text("SELECT count(*) FROM dataset_grants WHERE grantee LIKE 'cached%'")).scalar_one()
        tx.execute(text("DELETE FROM dataset_grants WHERE grantee LIKE 'cached%'"))
    assert [url.url for url in first.urls] == [url.url for url in second.urls]
    assert 2 == count


def test_edge_serves_no_file_of_another_store(shelf: Any):
    """Over S3 the route is not there; over files it asks for a signature."""
    response = shelf.http.get(f"{shelf.house.settings.base_url}/files/objects/x")
    assert {"local": 403, "s3": 404}[shelf.kind] == response.status_code


def launch(tx: Any, vendor_id: str, round_id: str) -> str:
    """A run with a handle, about to report."""
    request = TrainingRequest.model_validate({"round_id": round_id, "task": "signal", "provider": "local"})
    run_id = runs.create(tx, vendor_id, request, idempotency_key=None, now=NOW, providers={"local"}).run_id
    [claimed] = [run for run in runs_claims.claim(tx, providers={"local"}) if run.run_id == run_id]
    after = runs_claims.apply(tx, run_id, claimed.lock_token, Step(letter="a"), NOW)
    assert after is not None
    runs_claims.record_handle(tx, after, Handle(f"{run_id}/1", vendor_id), NOW)
    return run_id


def announce(shelf: Any, tx: Any, run_id: str, payload: bytes) -> tuple[RunOutcome, str]:
    """Announces an artifact of these bytes: the outcome that names it, and where to PUT it."""
    artifact = ArtifactRequest(name="model.onnx", size_bytes=len(payload), sha256=hashlib.sha256(payload).hexdigest())
    target = runs.register_artifact(tx, run_id, artifact, store=shelf.store, now=datetime.now(UTC))
    return RunOutcome(status="succeeded", exit_code=0, artifacts=[artifact]), str(target.url)


@pytest.mark.parametrize("sent", [None, b"shorter", b"other byte"])
def test_artifact_that_is_not_as_announced_ends_no_run(shelf: Any, published: str, vendor: Any, sent: bytes | None):
    """Never uploaded, of another size, or of other bytes of the same size: refused, and nothing is given out."""
    with shelf.house.db.begin() as tx:
        run_id = launch(tx, vendor.vendor_id, published)
        outcome, url = announce(shelf, tx, run_id, b"model byte")
        if sent is not None:
            shelf.http.put(url, content=sent)
        with pytest.raises(ConflictError, match=r"model\.onnx"):
            runs.finish(tx, run_id, outcome, store=shelf.store, now=NOW)
        runs.cancel(tx, vendor.vendor_id, run_id, now=NOW)


def test_artifact_is_out_of_the_senders_reach_once_it_is_taken(shelf: Any, published: str, vendor: Any):
    """A later PUT with the same URL changes nothing of what is given out."""
    with shelf.house.db.begin() as tx:
        run_id = launch(tx, vendor.vendor_id, published)
        outcome, url = announce(shelf, tx, run_id, b"model byte")
        assert 200 == shelf.http.put(url, content=b"model byte").status_code
        runs.finish(tx, run_id, outcome, store=shelf.store, now=NOW)
        shelf.http.put(url, content=b"other byte")
        run = runs.get(tx, vendor.vendor_id, run_id, view=runs.View(store=shelf.store))
    [file] = run.artifacts.files or []
    assert b"model byte" == shelf.http.get(str(file.url)).content


def test_artifact_is_taken_in_again_after_a_rollback(shelf: Any, published: str, vendor: Any):
    """The first transaction dies after the store was changed; the outcome goes through, and nothing stays staged."""
    with shelf.house.db.begin() as tx:
        run_id = launch(tx, vendor.vendor_id, published)
        outcome, url = announce(shelf, tx, run_id, b"model byte")
    assert 200 == shelf.http.put(url, content=b"model byte").status_code
    with suppress(ZeroDivisionError), shelf.house.db.begin() as tx:
        runs.finish(tx, run_id, outcome, store=shelf.store, now=NOW)
        raise ZeroDivisionError
    with shelf.house.db.begin() as tx:
        assert runs.get(tx, vendor.vendor_id, run_id).artifacts.files is None
    with shelf.house.db.begin() as tx:
        runs.finish(tx, run_id, outcome, store=shelf.store, now=NOW)
    assert b"model byte" == shelf.read(f"runs/{run_id}/model.onnx")
    with pytest.raises(NotFoundError):
        shelf.store.stat(f"staged/runs/{run_id}/{hashlib.sha256(b'model byte').hexdigest()}/model.onnx")


@pytest.mark.parametrize("suffix", ["html", "ipynb"])
def test_report_is_kept_and_placed(shelf: Any, tmp_path: Path, suffix: str):
    """A path where the store is a folder, else the key; no signed URL, which would be a secret in Prefect."""
    (tmp_path / "page").write_bytes(b"<html>")
    key = reports.keep(shelf.store, "daily", f"rep_{suffix}", {suffix: tmp_path / "page", "html": tmp_path / "page"})
    assert b"<html>" == shelf.read(key)
    place = reports.place(shelf.store, key)
    assert (shelf.kind == "local") == (isinstance(place, Path) and place.is_file())
    assert str(place).endswith(key)
