"""What a past is worth as a weight."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mp_kit.scoring.skill import HIGHEST, LOWEST, PRIOR_CALLS, Record, skills_of

records = st.dictionaries(
    st.text(min_size=1, max_size=3), st.builds(Record, st.floats(0, 1), st.integers(0, 10_000)), max_size=8
)


@pytest.mark.parametrize("record", [Record(1.1, 5), Record(-0.1, 5), Record(math.nan, 5), Record(0.5, -1)])
def test_no_hit_rate_is_refused(record: Record):
    """A share from 0 to 1 of a count."""
    with pytest.raises(ValueError, match="record of a"):
        skills_of({"a": record})


def test_nobody_has_a_past():
    """Then all are alike."""
    assert {} == skills_of({})
    assert {"a": 1.0, "b": 1.0} == skills_of({"a": Record(0.9, 0), "b": Record(0.1, 0)})


@given(records)
def test_skill_has_bounds(told: dict[str, Record]):
    """Nobody is silenced, nobody rules; who has no calls is average."""
    skills = skills_of(told)
    assert set(told) == set(skills)
    assert all(LOWEST <= skill <= HIGHEST for skill in skills.values())
    assert all(skills[name] == 1.0 for name, record in told.items() if not record.n)


@given(records, st.floats(0, 1), st.floats(0, 1), st.integers(1, 10_000))
def test_better_past_of_equal_length_is_worth_more(told: dict[str, Record], one: float, other: float, n: int):
    """Within one marketplace."""
    skills = skills_of(told | {"worse": Record(min(one, other), n), "better": Record(max(one, other), n)})
    assert skills["worse"] <= skills["better"]


def test_skill_by_hand():
    """500 calls at 54 % beside 500 at 50 %: the mean is 52 %, the shrunken rates 53 % and 51 %."""
    skills = skills_of({"good": Record(0.54, PRIOR_CALLS), "plain": Record(0.50, PRIOR_CALLS)})
    odds = 0.52 / 0.48
    assert (0.53 / 0.47 / odds) ** 10 == pytest.approx(skills["good"], rel=1e-12)
    assert (0.51 / 0.49 / odds) ** 10 == pytest.approx(skills["plain"], rel=1e-12)


def test_luck_is_worth_little():
    """Ten right of ten move less than 540 right of 1,000."""
    skills = skills_of({"lucky": Record(1.0, 10), "good": Record(0.54, 1_000), "rest": Record(0.5, 100_000)})
    assert 1 < skills["lucky"] < skills["good"]
