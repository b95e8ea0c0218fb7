"""A consensus in words: who it is from."""

from __future__ import annotations

from datetime import UTC, datetime

from mp_kit.client.consensus import ConsensusView


def test_voices_have_their_vendors_names():
    """Ids alone tell nobody who spoke; without a vendor's name the id is all there is."""
    at = datetime(2026, 1, 5, tzinfo=UTC)
    view = ConsensusView.model_validate(
        {"symbol": "EURUSD", "timeframe": "1h", "decision": "BUY", "confidence": 0.5, "event_time": at}
        | {"method": "equal", "timestamp": at, "model_version": "1", "signals": 2, "score": 0.1, "computed_at": at}
        | {
            "contributions": {
                "dep_1": {"decision": "BUY", "weight": 0.75, "vendor": "ACME"},
                "dep_2": {"decision": "SELL", "weight": 0.25},
            }
        }
    )
    assert "ACME (dep_1) 75% BUY, dep_2 25% SELL" in repr(view)
