"""When a bar's close was a price: told by the manifest, or by what it says of its source."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mp_kit.contracts import Manifest
from mp_kit.errors import BarsError
from mp_kit.market.pricing import ECB_PRICED_AFTER, check_priced_after, priced_after
from mp_kit.market.sources import open_source


def manifest(**facts: Any) -> Manifest:
    given: dict[str, Any] = {"timeframe": "1d", "source": {"kind": "files"}} | facts
    return Manifest(
        round_id="r", name="r", symbols=[], horizon=1, embargo=0, code_version="0", files=[],
        created_at=datetime(2026, 1, 1, tzinfo=UTC), **given,
    )  # fmt: skip


def test_what_a_round_says():
    """Its own word first; an ECB round from before that word by its source; all others close at their end."""
    assert 61_200 == priced_after(manifest(priced_after=61_200))
    assert ECB_PRICED_AFTER == priced_after(manifest(source={"kind": "ecb"}))
    assert (86_400, 3_600) == (priced_after(manifest()), priced_after(manifest(timeframe="1h")))


def test_sources_say_it(tmp_path: Path):
    """The fixings of themselves, files where the operator says so."""
    assert ECB_PRICED_AFTER == open_source("ecb").priced_after
    assert (None, 75_600) == tuple(open_source(str(tmp_path), priced_after=at).priced_after for at in (None, 75_600))


@pytest.mark.parametrize("told", [0, -1, 86_401])
def test_outside_of_its_bar(told: int):
    """Refused; within it, up to its end, taken."""
    with pytest.raises(BarsError, match="no price"):
        check_priced_after(told, "1d")
    for good in (None, 1, 86_400):
        check_priced_after(good, "1d")
