"""presign-dataset: the URLs stand in one file, which only the operator reads."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from pydantic import ValidationError

from mp_kit.errors import NotFoundError
from mp_kit.server.house import House
from mp_kit.server.services import handover, publication
from mp_kit.server.services.handover import GrantOrder


def test_grant_without_a_round(house: House, tmp_path: Path):
    """Nothing to hand over is said, and leaves no file."""
    with pytest.raises(NotFoundError), house.db.begin() as tx:
        handover.grant(tx, house.store, GrantOrder(who="x", round_id="none"), tmp_path / "grants")
    assert not (tmp_path / "grants").exists()


@pytest.mark.parametrize("fields", [{"who": ""}, {"who": "x", "ttl_seconds": 1}, {"who": "a\nb"}])
def test_order_refuses(fields: dict[str, object]):
    """Nobody, no time, or a line break in a name."""
    with pytest.raises(ValidationError):
        GrantOrder.model_validate(fields)


def test_grant_writes_a_private_file(house: House, tmp_path: Path):
    """Mode 0600, every file of the round signed, and no URL in what the flow shows."""
    order = publication.RoundOrder(source="ecb", symbols=["EURUSD"])
    publication.run(house.db.begin, house.store, house.signer, order, actor="test")
    with house.db.begin() as tx:
        grant = handover.grant(tx, house.store, GrantOrder(who="A Fund/../x"), tmp_path / "grants")
    assert 0o600 == stat.S_IMODE(grant.path.stat().st_mode)
    assert tmp_path / "grants" == grant.path.parent
    told = json.loads(grant.path.read_text())
    assert grant.files == len(told["urls"]) == 4
    assert all("signature=" in url["url"] for url in told["urls"])
    assert "signature" not in repr(grant)
