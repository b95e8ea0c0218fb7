"""Rounds and manifests on the wire."""

from __future__ import annotations

from typing import Any

import pytest

from mp_kit.contracts import (
    CURRENT,
    FileRole,
    Footer,
    Manifest,
    ManifestFile,
    ManifestSignature,
    Model,
    RoundFile,
    RowGroup,
    SignedUrl,
    SignedUrlsRequest,
)

FILE = {"name": "EURUSD.train.parquet", "type": "train", "size_bytes": 10, "sha256": "a" * 64, "rows": 1}
GROUP = {"offset": 4, "length": 6, "rows": 1}
MANIFEST = {
    "round_id": "rnd_1",
    "name": "ecb 1d",
    "timeframe": "1d",
    "symbols": ["EURUSD"],
    "horizon": 5,
    "embargo": 5,
    "created_at": "2026-01-02T00:00:00Z",
    "source": {"kind": "ecb"},
    "code_version": "0.1.0",
    "files": [FILE],
}
BAD: dict[str, tuple[type[Model], dict[str, Any], str]] = {
    "file walks out": (ManifestFile, FILE | {"name": "../x"}, "name"),
    "file in a folder": (ManifestFile, FILE | {"name": "a/b"}, "name"),
    "file hidden": (ManifestFile, FILE | {"name": ".x"}, "name"),
    "file with a line's end": (ManifestFile, FILE | {"name": "x\n"}, "name"),
    "file of no role": (ManifestFile, FILE | {"type": "holdout"}, "type"),
    "file of negative size": (ManifestFile, FILE | {"size_bytes": -1}, "size_bytes"),
    "file with md5": (ManifestFile, FILE | {"sha256": "a" * 32}, "sha256"),
    "file with negative rows": (ManifestFile, FILE | {"rows": -1}, "rows"),
    "row group of no bytes": (RowGroup, {"offset": 0, "length": 0, "rows": 1}, "length"),
    "chunk whose digest is none": (RowGroup, GROUP | {"chunks": {"close": "ab"}}, "chunks.close"),
    "footer of no bytes": (Footer, {"length": 0, "sha256": "0" * 64}, "length"),
    "row group of no rows": (RowGroup, {"offset": 0, "length": 1, "rows": 0}, "rows"),
    "row group before the file": (RowGroup, {"offset": -1, "length": 1, "rows": 1}, "offset"),
    "manifest of no horizon": (Manifest, MANIFEST | {"horizon": 0}, "horizon"),
    "manifest of negative embargo": (Manifest, MANIFEST | {"embargo": -1}, "embargo"),
    "manifest of no timeframe": (Manifest, MANIFEST | {"timeframe": "1w"}, "timeframe"),
    "manifest with a bad file": (Manifest, MANIFEST | {"files": [FILE | {"rows": "many"}]}, "files.0.rows"),
    "manifest with a bad symbol": (Manifest, MANIFEST | {"symbols": ["EURUSD", ""]}, "symbols.1"),
    "manifest with a path as id": (Manifest, MANIFEST | {"round_id": "../x"}, "round_id"),
    "signature without digest": (ManifestSignature, {"key_id": "k", "signature": "s"}, "sha256"),
    "request of no round": (SignedUrlsRequest, {"round_id": ""}, "round_id"),
    "request of one file as text": (SignedUrlsRequest, {"round_id": "r", "files": "a"}, "files"),
    "url without an end": (
        SignedUrl,
        {"name": "a", "url": "https://example.org", "size_bytes": 1, "sha256": "a" * 64},
        "expires_at",
    ),
}


@pytest.mark.parametrize(("contract", "document", "place"), BAD.values(), ids=BAD)
def test_bad_document_names_the_place(contract: type[Model], document: dict[str, Any], place: str, refused: Any):
    """One finding, at the field that is wrong."""
    assert [place] == list(refused(contract, document))


@pytest.mark.parametrize("field", [name for name in MANIFEST if name != "files"])
def test_each_required_field_is_missed(field: str, refused: Any):
    """By its name."""
    assert [field] == list(refused(Manifest, {name: value for name, value in MANIFEST.items() if name != field}))


def test_roles_are_the_wires():
    """Four of them."""
    assert ["train", "validation", "test", "features"] == [role.value for role in FileRole]


def test_manifest_survives_the_wire():
    """Byte ranges and times too."""
    group = {"offset": 4, "length": 6, "rows": 1, "min_time": "2026-01-01T00:00:00Z", "chunks": {"close": "a" * 64}}
    file = FILE | {"row_groups": [group], "footer": {"length": 9, "sha256": "b" * 64}}
    read = Manifest.model_validate(MANIFEST | {"files": [file]})
    assert read == Manifest.model_validate_json(read.model_dump_json())
    assert ("a" * 64, 9) == (read.files[0].row_groups[0].chunks["close"], read.files[0].footer.length)


def test_manifest_before_1_1_is_read():
    """It has no digests of parts."""
    [file] = Manifest.model_validate(MANIFEST | {"files": [FILE | {"row_groups": [GROUP]}]}).files
    assert (None, {}) == (file.footer, file.row_groups[0].chunks)


def test_round_lists_what_the_manifest_has():
    """A round's file is a shorter manifest's file."""
    assert set(RoundFile.model_fields) <= set(ManifestFile.model_fields)


def test_current_goes_where_a_round_id_goes():
    """The word is part of the contract."""
    assert "current" == SignedUrlsRequest(round_id=CURRENT).round_id
