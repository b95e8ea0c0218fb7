"""``mp admin round publish``: what is asked for reaches the order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mp_kit.cli import admin
from mp_kit.server.services.publication import RoundOrder


def test_publish_unknown_leakage_policy_is_refused(mp: Any):
    """Before anything is opened, with the field's name."""
    said = mp("admin", "round", "publish", "--direct", "--leakage", "ignore", "--json")
    assert 0 != said.code
    assert "leakage" in said.err


@pytest.mark.parametrize(("given", "expected"), [([], "reject"), (["--leakage", "flag"], "flag")])
def test_publish_leakage_policy(mp: Any, monkeypatch: pytest.MonkeyPatch, given: list[str], expected: str):
    """`reject` is the default, `flag` is handed on."""
    orders: list[RoundOrder] = []

    def keep(_home: Path | None, order: dict[str, Any]) -> dict[str, Any]:
        orders.append(RoundOrder.model_validate(order))
        return {"round_id": "rnd", "created": True, "made_current": False, "input_bars": 0, "rows": {}}

    monkeypatch.setattr(admin, "_publish_here", keep)
    assert 0 == mp("admin", "round", "publish", "--direct", *given).code
    assert [expected] == [order.leakage for order in orders]
