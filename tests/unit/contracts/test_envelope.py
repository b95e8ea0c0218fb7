"""The envelope of every answer."""

from __future__ import annotations

from typing import Any

import pytest

from mp_kit.contracts import Failure, Listing, Success, render_failure
from mp_kit.errors import BY_CODE, AuthError, InvalidInputError, MarketplaceError


@pytest.mark.parametrize("cls", BY_CODE.values(), ids=BY_CODE)
def test_failure_of_each_error(cls: type[MarketplaceError]):
    """One sentence, one code, nothing that is empty."""
    body = render_failure(cls("It broke."), "req_1")
    assert (False, "It broke.", cls.code, "req_1") == (body["success"], body["error"], body["code"], body["request_id"])
    assert all(value not in (None, "", []) for value in body.values())
    assert cls.hint == body.get("hint", "")


def test_failure_says_where():
    """Findings keep their places; strange keys of theirs stay behind."""
    error = InvalidInputError("Bad.", details=[{"loc": ["a", 0], "msg": "no", "input": "secret"}])
    assert [{"loc": ["a", 0], "msg": "no"}] == render_failure(error)["details"]


def test_failure_keeps_the_errors_own_request():
    """When none is given."""
    assert "r1" == render_failure(AuthError("No.", request_id="r1"))["request_id"]
    assert "r2" == render_failure(AuthError("No.", request_id="r1"), "r2")["request_id"]


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({"success": True, "error": "x", "code": "y"}, "success"),
        ({"success": False, "error": {"a": 1}, "code": "y"}, "error"),
        ({"success": False, "error": "x"}, "code"),
        ({"success": False, "error": "x", "code": "y", "details": [{"loc": []}]}, "details.0.msg"),
    ],
)
def test_bad_failure_names_the_place(document: dict[str, Any], place: str, refused: Any):
    """``error`` is always a string: old clients print it."""
    assert [place] == list(refused(Failure, document))


def test_success_holds_its_data_to_its_type(refused: Any):
    """A wrong answer of ours is found before it is sent."""
    assert ["data.0"] == list(refused(Success[list[int]], {"data": ["x"]}))


def test_last_page_has_no_cursor():
    """Absent, not null."""
    page = Listing[list[int]](data=[1], count=1)
    assert {"success": True, "data": [1], "count": 1} == page.model_dump(exclude_none=True)
