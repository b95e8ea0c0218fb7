"""The tree of errors: whole, exported, told apart by code."""

from __future__ import annotations

import re
import traceback
from typing import Any

import pytest

from mp_kit import errors
from mp_kit.errors import BY_CODE, InternalError, MarketplaceError, MissingExtraError, RateLimitedError

CLASSES = {
    name: cls
    for name, cls in vars(errors).items()
    if isinstance(cls, type) and issubclass(cls, Exception) and cls.__module__ == errors.__name__
}


def _order(name: str) -> tuple[int, str]:
    return (0 if name.isupper() else 1), name


def test_all_is_sorted_and_complete():
    """Each class of the module, and the table."""
    assert sorted({"BY_CODE", *CLASSES}, key=_order) == errors.__all__


def test_codes_are_unique_and_stable_in_form():
    """A client branches on them."""
    codes = [cls.code for cls in CLASSES.values()]
    assert sorted(set(codes)) == sorted(codes)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)
    assert BY_CODE == {cls.code: cls for cls in CLASSES.values()}


def test_each_class_has_one_parent_of_ours():
    """A tree, not a net."""
    assert all(len(cls.__bases__) == 1 for cls in CLASSES.values())
    assert all(issubclass(cls, MarketplaceError) for cls in CLASSES.values())


@pytest.mark.parametrize("name", CLASSES)
def test_class_says_what_it_is(name: str):
    """A sentence of its own, and a status that is an error."""
    cls = CLASSES[name]
    assert cls.__doc__
    assert cls.__doc__.strip().endswith(".")
    assert name.endswith("Error")
    assert 400 <= cls.http <= 599


@pytest.mark.parametrize("name", [name for name in CLASSES if CLASSES[name].retryable])
def test_retryable_ones_are_about_time_or_place(name: str):
    """A refusal of the request itself is never worth repeating unchanged."""
    assert CLASSES[name].http in {429, 502, 503, 504}


@pytest.mark.parametrize("name", CLASSES)
def test_hint_is_a_note(name: str):
    """A traceback in a notebook ends with what to do."""
    error = CLASSES[name]("It broke.", hint="Mend it.")
    assert ["What to do: Mend it."] == error.__notes__
    assert "What to do: Mend it.\n" == traceback.format_exception(error)[-1]
    assert ("It broke.", "It broke.") == (str(error), error.message)


def test_no_hint_is_no_note():
    """Nor is one that was switched off."""
    assert not hasattr(MarketplaceError("x"), "__notes__")
    assert not hasattr(InternalError("x", hint=""), "__notes__")


def test_classes_own_hint_stands_unless_replaced():
    """And one error's hint is not the next one's."""
    assert "Other." == InternalError("x", hint="Other.").hint
    assert InternalError.hint == InternalError("x").hint
    assert InternalError.hint


def test_details_are_copies():
    """What the caller does to its list later changes nothing."""
    detail: dict[str, Any] = {"loc": ["a"], "msg": "m"}
    error = MarketplaceError("x", details=[detail])
    detail["msg"] = "other"
    assert [{"loc": ["a"], "msg": "m"}] == error.details


def test_missing_extra_is_the_install_line():
    """To be copied as it is."""
    error = MissingExtraError.for_extra("server", "`mp up`")
    assert ("pip install 'mp-kit[server]'", "missing_extra") == (error.hint, error.code)


def test_retry_after_and_request_id_are_kept():
    """What the edge said."""
    error = RateLimitedError("Slow down.", retry_after=2.5, request_id="r")
    assert (2.5, "r", True) == (error.retry_after, error.request_id, error.retryable)


def test_base_catches_all():
    """One ``except`` for what is raised on purpose."""
    assert all(isinstance(cls("x"), MarketplaceError) for cls in CLASSES.values())
