"""The vendor's accounts elsewhere, from a notebook."""

from __future__ import annotations

import httpx
import pytest
from pydantic import SecretStr

from mp_kit.client.marketplace import Marketplace
from mp_kit.contracts import ConnectionStatus
from mp_kit.errors import InvalidInputError, NotFoundError
from mp_kit.testing import FakeMarketplace

KEY = "hf_do_not_show_me_0123456789"


def test_a_bad_value_is_not_sent(market: Marketplace, fake: FakeMarketplace):
    """Nor repeated."""
    with pytest.raises(InvalidInputError, match="spaces") as caught:
        market.connections.set("huggingface", f"{KEY} {KEY}")
    assert KEY not in f"{caught.value!r} {caught.value.details}"
    assert [] == fake.requests


def test_an_unknown_name_is_not_sent(market: Marketplace, fake: FakeMarketplace):
    """It says which there are."""
    with pytest.raises(InvalidInputError) as caught:
        market.connections.test("github")
    assert ([], True) == (fake.requests, "runpod, huggingface, wandb" in caught.value.hint)


def test_what_is_not_set_is_not_found(market: Marketplace):
    """For test and remove alike."""
    for act in (market.connections.test, market.connections.remove):
        with pytest.raises(NotFoundError):
            act("wandb")


@pytest.mark.parametrize("value", [KEY, SecretStr(KEY), f"  {KEY}\n"])
def test_set_list_test_remove(market: Marketplace, fake: FakeMarketplace, value: str | SecretStr):
    """The whole life of a connection."""
    assert ("huggingface", "6789", "unchecked") == _facts(market.connections.set("huggingface", value))
    fake.connections.verdict = ConnectionStatus.REFUSED
    tested = market.connections.test("huggingface")
    assert ("refused", True) == (tested.status, tested.checked_at is not None)
    assert [("huggingface", "6789", "refused")] == [_facts(known) for known in market.connections.list()]
    assert ("huggingface", "6789", "refused") == _facts(market.connections.remove("huggingface"))
    assert 0 == len(market.connections.list())


def test_a_missing_value_is_asked_for(market: Marketplace, monkeypatch: pytest.MonkeyPatch):
    """Hidden, so that the notebook has it in no cell."""
    monkeypatch.setattr("getpass.getpass", lambda prompt: KEY if "Hugging Face" in prompt else "")
    assert "6789" == market.connections.set("huggingface").last4


def test_views_show_no_more_than_four_characters(market: Marketplace):
    """In a shell and in a notebook."""
    made = market.connections.set("huggingface", KEY)
    shown = f"{made!r} {made} {made._repr_html_()} {market.connections.list()!r} {market.connections!r}"
    assert ("…6789" in shown, KEY in shown, "show_me" in shown) == (True, False, False)


def test_the_value_travels_in_the_body_alone(fake: FakeMarketplace):
    """URLs and headers end up in logs."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return fake.transport.handle_request(request)

    Marketplace(fake.url, fake.api_key, transport=httpx.MockTransport(answer)).connections.set("huggingface", KEY)
    [request] = seen
    assert (True, False) == (KEY in request.content.decode(), KEY in f"{request.url} {request.headers.raw}")


def _facts(view: object) -> tuple[str, str, str]:
    return (view.name, view.last4, view.status)  # type: ignore[attr-defined]
