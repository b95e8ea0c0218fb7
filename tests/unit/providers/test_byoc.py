"""What a provider says that only listens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mp_kit.server.providers.base import Handle, Phase
from mp_kit.server.providers.byoc import SILENCE, ByocProvider, Heard

NOW = datetime.now(UTC)
LONG_AGO = NOW - SILENCE - timedelta(seconds=5)
HANDLE = Handle("run_1/1", "ven_1")

CASES = {
    "never spoke": (Heard(), Phase.STARTING),
    "speaks": (Heard(at=NOW), Phase.RUNNING),
    "silent, but not told to end": (Heard(at=LONG_AGO), Phase.RUNNING),
    "told its outcome": (Heard(at=NOW, has_told=True, ending_since=NOW), Phase.GONE),
    "to end, never spoke": (Heard(ending_since=NOW), Phase.GONE),
    "to end, just heard": (Heard(at=NOW, ending_since=LONG_AGO), Phase.RUNNING),
    "to end, told so just now": (Heard(at=LONG_AGO, ending_since=NOW), Phase.RUNNING),
    "to end, silent": (Heard(at=LONG_AGO, ending_since=LONG_AGO), Phase.GONE),
}


@pytest.mark.parametrize("case", CASES)
def test_phase(case: str):
    """From the job's own words alone."""
    heard, expected = CASES[case]
    assert expected is ByocProvider(lambda _: {"run_1": heard}).observe([HANDLE])["run_1/1"].phase


def test_unknown_run_is_unknown():
    """What the database does not know is not said to be gone."""
    assert Phase.UNKNOWN is ByocProvider(lambda _: {}).observe([HANDLE])["run_1/1"].phase


def test_one_question_for_all():
    """However many runs, and none for none."""
    asked: list[list[str]] = []

    def hear(run_ids: object) -> dict[str, Heard]:
        asked.append(list(run_ids))  # type: ignore[call-overload]
        return {}

    provider = ByocProvider(hear)
    provider.observe([Handle(f"run_{n}/1", "ven_1") for n in range(3)])
    provider.observe([])
    assert [["run_0", "run_1", "run_2"]] == asked
