"""The cache, the pinned keys, and verifying offline."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mp_kit.client import config
from mp_kit.client.cache import Cache
from mp_kit.client.marketplace import Marketplace
from mp_kit.client.offline import verify_folder
from mp_kit.client.partial import Wanted
from mp_kit.client.rounds import Rounds
from mp_kit.client.trust import Trust
from mp_kit.errors import IntegrityError, InvalidInputError, NotFoundError, SetupError
from mp_kit.testing import FakeMarketplace


def test_pull_into_a_second_folder_comes_from_the_cache(market: Marketplace, fake: FakeMarketplace, tmp_path: Path):
    """Nothing is fetched, and the bytes lie on the disk once."""
    first = market.data.pull(output=tmp_path / "one", progress=False, cache=True)
    fake.requests.clear()
    second = market.data.pull(output=tmp_path / "two", progress=False, cache=True)
    assert (0, first.bytes) == (second.fetched_bytes, second.bytes)
    assert not [request for request in fake.requests if "/files/" in request]
    assert [True] * len(first.files) == [a.samefile(b) for a, b in zip(first.files, second.files, strict=True)]


def test_pull_spoilt_cache_is_fetched_again(market: Marketplace, tmp_path: Path):
    """The cache is hashed before it is used."""
    market.data.pull(output=tmp_path / "one", progress=False, cache=True)
    spoilt = Cache().list()[0]
    spoilt.path.unlink()
    spoilt.path.write_bytes(bytes(spoilt.size_bytes))
    again = market.data.pull(output=tmp_path / "two", progress=False, cache=True)
    assert spoilt.size_bytes == again.fetched_bytes
    assert [path.name for path in again.files] == market.data.verify(tmp_path / "two").files


def test_pull_without_cache_leaves_none(market: Marketplace, tmp_path: Path):
    """Straight into the folder."""
    market.data.pull(output=tmp_path / "one", progress=False, cache=False)
    assert [] == Cache().list()


def test_place_over_another_disk_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, market: Marketplace):
    """Where no link can be made, a copy is."""

    def refuse(*_: object) -> None:
        raise OSError(18, os.strerror(18))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    pulled = market.data.pull(output=tmp_path / "one", progress=False, cache=True)
    market.data.verify(tmp_path / "one")
    assert not pulled.files[0].samefile(Cache().list()[0].path)


def test_prune_by_age_and_leftovers(market: Marketplace, tmp_path: Path):
    """What is old goes, what is new stays; pulled folders keep their files."""
    pulled = market.data.pull(output=tmp_path / "one", progress=False, cache=True)
    cache = Cache()
    old = cache.list()[0]
    os.utime(old.path, (0, 0))
    (old.path.parent / ".x.part").write_bytes(b"12345")
    os.utime(old.path.parent / ".x.part", (0, 0))
    count = len(cache.list())
    assert (2, old.size_bytes + 5) == cache.prune(dry_run=True)
    assert (2, old.size_bytes + 5) == cache.prune()
    assert count - 1 == len(cache.list())
    assert count - 1 == cache.prune(0).files
    assert all(path.exists() for path in pulled.files)


@pytest.mark.parametrize("days", [-1.0, float("nan")])
def test_prune_of_no_age_is_refused(days: float):
    """A mistake must not empty the cache."""
    with pytest.raises(InvalidInputError):
        Cache().prune(days)


def test_cache_verify_removes_what_is_wrong(market: Marketplace, tmp_path: Path):
    """The wrong file is named and gone; the others stay."""
    market.data.pull(output=tmp_path / "one", progress=False, cache=True)
    cache = Cache()
    first, *others = cache.list()
    first.path.unlink()
    first.path.write_bytes(b"wrong")
    assert [first.sha256] == [one.sha256 for one in cache.verify()]
    assert {one.sha256 for one in others} == {one.sha256 for one in cache.list()}


def test_place_pruned_meanwhile_is_told(tmp_path: Path):
    """Another process pruned the file between its proof and its link."""
    wanted = Wanted("a.bin", 1, "0" * 64, tmp_path / "a.bin")
    with pytest.raises(Exception, match=r"a\.bin"):
        Cache().place(wanted)
    assert [] == [path.name for path in tmp_path.iterdir()]


@pytest.fixture
def rounds(market: Marketplace) -> Rounds:
    """Rounds that pin keys in the profile."""
    return Rounds(market.rounds._api, Trust(market.api_url))


def test_keys_are_pinned_on_first_use(rounds: Rounds, market: Marketplace, fake: FakeMarketplace):
    """By the marketplace's URL, in the profile."""
    rounds.signed_manifest()
    signer = fake.shelf.signer
    assert {market.api_url: {signer.key_id: signer.public.public_key}} == config.load().signing_keys


def test_changed_key_is_refused_until_accepted(rounds: Rounds, market: Marketplace, fake: FakeMarketplace):
    """A marketplace that signs with another key is not believed; the error says how to accept it."""
    rounds.signed_manifest()
    old, fake.shelf.signer = fake.shelf.signer, FakeMarketplace().shelf.signer
    new = fake.shelf.signer.key_id
    with pytest.raises(IntegrityError, match=f"signed by key {new}, but {market.api_url} is pinned to") as caught:
        rounds.signed_manifest()
    assert f"mp data trust {new}" in (caught.value.hint or "")
    with pytest.raises(NotFoundError):
        rounds.trust("0" * 16)
    rounds.trust(new)
    rounds.signed_manifest()
    assert {old.key_id, new} == set(rounds.pinned())


def test_pinned_key_with_other_bytes_is_refused(rounds: Rounds, fake: FakeMarketplace):
    """The pinned bytes verify, not those that the marketplace offers under the same name."""
    rounds.signed_manifest()
    forged = fake.shelf.signer.public.model_copy(update={"public_key": "AAAA"})
    kept = rounds._trust.keys({forged.key_id: forged}, forged.key_id)
    assert fake.shelf.signer.public == kept[forged.key_id]


def test_damaged_pins_are_told(rounds: Rounds):
    """Forgetting a pinned key would let another one in."""
    rounds.signed_manifest()
    path = config.config_dir() / "config.json"
    path.write_text('{"signing_keys": {"http://x": "y"}}')
    with pytest.raises(SetupError, match="pinned keys"):
        rounds.signed_manifest()


def test_verify_offline(rounds: Rounds, market: Marketplace, fake: FakeMarketplace, tmp_path: Path):
    """Signature by the pinned key, then each file; no request is made."""
    rounds.signed_manifest()
    market.data.pull(output=tmp_path, roles=["train"], progress=False, cache=True)
    fake.requests.clear()
    found = verify_folder(tmp_path)
    assert ([], fake.shelf.signer.key_id) == (fake.requests, found.key_id)
    assert {file.name for file in fake.shelf.manifest.files} == {*found.files, *found.absent}
    assert ["train-EURUSD.parquet"] == found.files


def test_verify_wrong_file_is_named(market: Marketplace, tmp_path: Path):
    """A flipped byte in one of the files."""
    pulled = market.data.pull(output=tmp_path, progress=False, cache=False)
    content = pulled.files[0].read_bytes()
    pulled.files[0].write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(IntegrityError, match=pulled.files[0].name):
        market.data.verify(tmp_path)


def test_verify_forged_manifest_is_refused(market: Marketplace, tmp_path: Path):
    """One byte of the manifest."""
    market.data.pull(output=tmp_path, progress=False, cache=True)
    manifest = tmp_path / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"Fake round", b"Fade round"))
    with pytest.raises(IntegrityError, match="does not hold"):
        market.data.verify(tmp_path)


def test_verify_without_manifest_or_key(market: Marketplace, tmp_path: Path):
    """What is missing is told, with the next step."""
    with pytest.raises(NotFoundError, match=r"no readable manifest\.json"):
        verify_folder(tmp_path)
    market.data.pull(output=tmp_path, progress=False, cache=True)
    with pytest.raises(SetupError, match="No signing key is pinned"):
        verify_folder(tmp_path)
    other = FakeMarketplace().shelf.signer.public
    config.save(config.Profile(signing_keys={"http://x": {other.key_id: other.public_key}}))
    with pytest.raises(IntegrityError, match=f"pinned are {other.key_id}"):
        verify_folder(tmp_path)
