from __future__ import annotations

import json
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from mp_kit.client.data import MANIFEST_NAME, SIGNATURE_NAME
from mp_kit.client.marketplace import Marketplace
from mp_kit.contracts import ManifestSignature
from mp_kit.errors import AuthError, IntegrityError, InvalidInputError, MissingExtraError, NotFoundError
from mp_kit.signing import open_manifest
from mp_kit.testing import FakeMarketplace


def spoil(fake: FakeMarketplace) -> None:
    """Flips a byte of each stored file."""
    for digest, content in fake.shelf.files.items():
        fake.shelf.files[digest] = bytes([content[0] ^ 1]) + content[1:]


def test_pull_flipped_byte_leaves_nothing(market: Marketplace, fake: FakeMarketplace, tmp_path: Path):
    """Neither file nor manifest nor temporary."""
    spoil(fake)
    with pytest.raises(IntegrityError, match=r"EURUSD\.parquet: expected sha256 [0-9a-f]{64}, got"):
        market.data.pull(output=tmp_path / "round", progress=False)
    assert [] == list((tmp_path / "round").iterdir())


def test_pull_forged_manifest_is_refused_before_any_file(market: Marketplace, fake: FakeMarketplace, tmp_path: Path):
    """The signature is checked over the received bytes first."""
    signed = fake.shelf.signer.sign_manifest(fake.shelf.manifest_bytes)
    fake.shelf.signer.sign_manifest = lambda _: signed
    fake.shelf.manifest_bytes = fake.shelf.manifest_bytes.replace(b"Fake round", b"Fade round")
    with pytest.raises(IntegrityError, match="signature of the round's manifest does not hold"):
        market.data.pull(output=tmp_path / "round")
    assert not (tmp_path / "round").exists()


def test_manifest_of_another_round_is_refused(market: Marketplace, fake: FakeMarketplace):
    """A good signature over another round's manifest is no answer."""
    other = fake.shelf.manifest.round_id + "x"
    fake.shelf.check = lambda _: None
    with pytest.raises(IntegrityError, match="got a signed one of"):
        market.rounds.manifest(other)


def test_pull_brings_files_and_their_proof(market: Marketplace, fake: FakeMarketplace, tmp_path: Path):
    """Files equal the manifest; manifest and signature lie beside them and verify offline."""
    pulled = market.data.pull(output=tmp_path, progress=False)
    assert sorted(file.name for file in fake.shelf.manifest.files) == sorted(path.name for path in pulled.files)
    assert {path.read_bytes() for path in pulled.files} == set(fake.shelf.files.values())
    signature = ManifestSignature.model_validate_json((tmp_path / SIGNATURE_NAME).read_bytes())
    keys = {fake.shelf.signer.key_id: fake.shelf.signer.public}
    assert fake.shelf.manifest == open_manifest((tmp_path / MANIFEST_NAME).read_bytes(), signature, keys)


def test_pull_again_fetches_nothing(market: Marketplace, fake: FakeMarketplace, tmp_path: Path):
    """The second pull asks for no URL."""
    market.data.pull(output=tmp_path)
    fake.requests.clear()
    again = market.data.pull(output=tmp_path)
    assert (0, True) == (again.fetched_bytes, again.verified)
    assert not [request for request in fake.requests if "files" in request or "signed-urls" in request]


def test_pull_asks_for_urls_of_the_pinned_round(market: Marketplace, fake: FakeMarketplace, tmp_path: Path):
    """``current`` is resolved once; URLs are asked for by the round's own id."""
    bodies = []
    handle = fake.transport.handler
    fake.transport.handler = lambda request: bodies.append(request.content) or handle(request)
    market.data.pull("current", tmp_path)
    asked = [json.loads(body)["round_id"] for body in bodies if b"round_id" in body]
    assert [fake.shelf.manifest.round_id] == asked


def test_pull_selects(market: Marketplace, tmp_path: Path):
    """By role."""
    pulled = market.data.pull(output=tmp_path, roles=["train"], symbols=["EURUSD"])
    assert ["train-EURUSD.parquet"] == [path.name for path in pulled.files]


@pytest.mark.parametrize(
    ("chosen", "said", "hint"),
    [
        ({"symbols": ["EURUSB"]}, "no symbol 'EURUSB'", "Did you mean 'EURUSD'?"),
        ({"roles": ["test"]}, "no role 'test'", "It has: features, train, validation."),
        ({"files": ["train-EURUSD.parque"]}, "no file", "Did you mean 'train-EURUSD.parquet'?"),
        ({"symbols": "EURUSD"}, "pass a list", ""),
    ],
)
def test_pull_unknown_name_is_told(market: Marketplace, tmp_path: Path, chosen: dict, said: str, hint: str):
    """With the nearest, or with what there is."""
    with pytest.raises(InvalidInputError, match=said) as caught:
        market.data.pull(output=tmp_path, **chosen)
    assert hint == caught.value.hint


def test_pull_without_key_is_refused(fake: FakeMarketplace, tmp_path: Path):
    """The catalogue is public, the data is not."""
    with pytest.raises(AuthError):
        Marketplace(fake.url, transport=fake.transport).data.pull(output=tmp_path)


def test_pull_unknown_round(market: Marketplace, tmp_path: Path):
    """404 comes as its class."""
    with pytest.raises(NotFoundError):
        market.data.pull("nope", tmp_path)


def test_pull_progress_reaches_the_total(market: Marketplace, tmp_path: Path):
    """A callable is told of all bytes."""
    seen: list[tuple[int, int]] = []
    pulled = market.data.pull(output=tmp_path, progress=lambda done, total, _file: seen.append((done, total)))
    assert (pulled.bytes, pulled.bytes) == seen[-1]


@pytest.mark.parametrize("method", ["load", "polars"])
def test_load_unknown_keyword_names_the_method(market: Marketplace, method: str):
    """The one that was called, and the keyword that was meant."""
    with pytest.raises(TypeError, match=rf"m\.data\.{method}\(\) takes no keyword 'symbol'\. Did you mean symbols=\?"):
        getattr(market.data, method)("train", symbol="EURUSD")


def test_load_columns_and_time(market: Marketplace):
    """Start is included, end is not; a bare date is its midnight in UTC."""
    frame = market.data.load("train", columns=["timestamp", "symbol"], start="2026-01-06", end="2026-01-06T02:00:00Z")
    assert [datetime(2026, 1, 6, hour, tzinfo=UTC) for hour in (0, 1)] == list(frame["timestamp"])
    assert (["timestamp", "symbol"], {"EURUSD"}) == (list(frame.columns), set(frame["symbol"]))


def test_load_twice_fetches_once(market: Marketplace, fake: FakeMarketplace):
    """The cache is keyed by content."""
    market.data.load("train")
    fake.requests.clear()
    assert 64 == market.data.arrow("train").num_rows
    assert not [request for request in fake.requests if "/files/" in request]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"columns": ["closed"]}, "no column 'closed'"),
        ({"columns": "close"}, "pass a list"),
        ({"start": datetime(2026, 1, 6)}, "has no zone"),  # noqa: DTZ001 - that is the fault
        ({"start": "yesterday"}, "is no instant"),
    ],
)
def test_load_bad_input_is_told(market: Marketplace, how: dict, said: str):
    """What is wrong, before pandas says something else."""
    with pytest.raises(InvalidInputError, match=said):
        market.data.load("train", **how)


def test_polars_missing_says_what_to_install(market: Marketplace, monkeypatch: pytest.MonkeyPatch):
    """The exact line."""
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(MissingExtraError) as caught:
        market.data.polars("train")
    assert "pip install 'mp-kit[polars]'" == caught.value.hint


def test_polars_extra_is_there_and_in_all():
    """What the hint says to install can be installed."""
    extras = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert ["polars"] == [Requirement(line).name for line in extras["polars"]]
    assert "polars" in Requirement(extras["all"][0]).extras


def test_polars_frame_has_the_tables_rows(market: Marketplace):
    """Where polars is installed."""
    pytest.importorskip("polars", reason="polars is optional")
    frame = market.data.polars("train", columns=["close"])
    assert market.data.arrow("train", columns=["close"])["close"].to_pylist() == frame["close"].to_list()


def test_batches_of_no_rows_are_refused(market: Marketplace):
    """Before anything is fetched."""
    with pytest.raises(InvalidInputError):
        next(market.data.batches("train", rows=0))
