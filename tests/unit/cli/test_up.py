"""`mp up` says where its pages are, and never the key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mp_kit.cli.up import _announce
from mp_kit.server.settings import ensure_secrets, read_json
from mp_kit.server.up import Place


@pytest.mark.parametrize("as_json", [True, False])
def test_ready_names_the_pages_and_where_the_key_lies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, as_json: bool
):
    """The result stays one line of stdout; what a person needs next is on stderr; the key itself is nowhere."""
    monkeypatch.delenv("MP_SERVICE_KEY", raising=False)
    ensure_secrets(tmp_path)
    _announce(Place(tmp_path, 3010, 4200), as_json=as_json)
    said = capsys.readouterr()
    if as_json:
        told = json.loads(said.out)
        assert "http://127.0.0.1:4200" == told["prefect_url"]
        assert told["operator_url"].startswith("http://127.0.0.1:3010/marketplace/operator/")
    else:
        assert "ready http://127.0.0.1:3010\n" == said.out
    assert "http://127.0.0.1:4200\n" in said.err
    assert f"signed in with MP_SERVICE_KEY in {tmp_path / 'secrets.json'}" in said.err
    assert read_json(tmp_path / "secrets.json")["MP_SERVICE_KEY"] not in said.out + said.err


def test_key_of_the_environment(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """It wins over the home's: the file would be the wrong place to look."""
    monkeypatch.setenv("MP_SERVICE_KEY", "of-the-environment")
    _announce(Place(tmp_path, 3010, 4200), as_json=False)
    said = capsys.readouterr().err
    assert ("MP_SERVICE_KEY of this environment" in said, "of-the-environment" in said) == (True, False)
