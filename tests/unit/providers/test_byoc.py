"""What a provider says that only listens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mp_kit.server.providers.base import Handle, Phase
from mp_kit.server.providers.byoc import SILENCE, ByocProvider, Heard

HANDLE = Handle("run_1/1", "ven_1")
JUST_NOW = timedelta(0)
LONG = SILENCE + timedelta(seconds=5)

CASES = {  # how long ago the job was heard, and how long ago it was told to end
    "never spoke": (None, None, Phase.STARTING),
    "speaks": (JUST_NOW, None, Phase.RUNNING),
    "silent, but not told to end": (LONG, None, Phase.RUNNING),
    "to end, never spoke": (None, JUST_NOW, Phase.GONE),
    "to end, just heard": (JUST_NOW, LONG, Phase.RUNNING),
    "to end, told so just now": (LONG, JUST_NOW, Phase.RUNNING),
    "to end, silent": (LONG, LONG, Phase.GONE),
}


def ago(age: timedelta | None) -> datetime | None:
    return None if age is None else datetime.now(UTC) - age


@pytest.mark.parametrize("case", CASES)
def test_phase(case: str):
    """From the job's own words alone."""
    heard_ago, ending_ago, expected = CASES[case]
    heard = Heard(at=ago(heard_ago), ending_since=ago(ending_ago))
    assert expected is ByocProvider(lambda _: {"run_1": heard}).observe([HANDLE])["run_1/1"].phase


def test_told_its_outcome_is_gone():
    """Whatever else it says."""
    heard = Heard(at=ago(JUST_NOW), has_told=True, ending_since=ago(JUST_NOW))
    assert Phase.GONE is ByocProvider(lambda _: {"run_1": heard}).observe([HANDLE])["run_1/1"].phase


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
