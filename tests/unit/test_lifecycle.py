"""A bucket's rules: ours beside everybody else's."""

from __future__ import annotations

from typing import Any

import pytest

from mp_kit.server.storage import Place
from mp_kit.server.storage.lifecycle import merged, wanted

PLACE = Place("bucket", "market", "auto", None, "key", "secret")
OURS = wanted(PLACE)
FOREIGN: list[dict[str, Any]] = [
    {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 3}},
    {"ID": "off", "Status": "Disabled", "Prefix": "", "NoncurrentVersionExpiration": {"NoncurrentDays": 9}},
    {"Status": "Enabled", "Filter": {"Tag": {"Key": "a", "Value": "b"}}, "Expiration": {"Days": 1}},
]


def test_only_staged_uploads_expire():
    """Parts go everywhere, objects under one prefix alone, and nothing outside the store's own."""
    prefixes = {rule["Filter"]["Prefix"]: rule.get("Expiration") for rule in OURS}
    assert {
        "market/objects/": None,
        "market/reports/": None,
        "market/runs/": None,
        "market/staged/": {"Days": 30},
    } == prefixes
    assert [{"DaysAfterInitiation": 7}] * 4 == [rule["AbortIncompleteMultipartUpload"] for rule in OURS]


def test_store_at_the_root_of_its_bucket_names_its_folders():
    """Never the whole bucket."""
    root = Place("bucket", "", "auto", None, "key", "secret")
    assert ["objects/", "reports/", "runs/", "staged/"] == [rule["Filter"]["Prefix"] for rule in wanted(root)]


def test_foreign_rules_stay_first_and_as_they_are():
    """Whatever they say, and also one without an id."""
    assert [*FOREIGN, *OURS] == merged(FOREIGN, OURS)


def test_rules_that_are_there_are_not_written_again():
    """A server may tell the prefix in the old place, in another order, and with empty fields."""
    told = [
        {**{k: v for k, v in rule.items() if k != "Filter"}, "Prefix": rule["Filter"]["Prefix"], "Transitions": []}
        for rule in reversed(OURS)
    ]
    assert merged([*told, *FOREIGN], OURS) is None


@pytest.mark.parametrize("change", [{"Status": "Disabled"}, {"Expiration": {"Days": 1}}, {"Filter": {"Prefix": "x/"}}])
def test_ours_that_somebody_changed_is_replaced(change: dict[str, Any]):
    """One rule of that id, as it should be."""
    assert [*FOREIGN, *OURS] == merged([OURS[0], {**OURS[3], **change}, *FOREIGN], OURS)


def test_two_stores_in_a_bucket_have_rules_of_their_own():
    """The second one's come beside the first one's."""
    other = wanted(Place("bucket", "another", "auto", None, "key", "secret"))
    assert [*OURS, *other] == merged(OURS, other)
