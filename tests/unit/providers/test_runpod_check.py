"""Orders that no pod could carry out are refused before anybody is asked: at the order, the estimate and the launch."""

from __future__ import annotations

from typing import Any

import pytest
from runpods import key_of, pair

from mp_kit.errors import InvalidInputError
from mp_kit.server.providers.runpod import BASE_URL, RunPodProvider
from mp_kit.server.providers.runpod_orders import is_loopback

HERE = ["http://127.0.0.1:3010", "http://localhost:3010", "http://[::1]:3010", "http://0.0.0.0:3010"]
OUTSIDE = ["https://market.example", "http://192.0.2.7:3010", "https://localhost.example"]


def provider(**options: Any) -> RunPodProvider:
    """One that knows where pods call back."""
    return RunPodProvider(key_of, **{"image": "mp-trainer:1", "prefix": "mp-test", **options})


@pytest.mark.parametrize(("urls", "expected"), [(HERE, True), (OUTSIDE, False)])
def test_loopback_addresses(urls: list[str], expected: bool):
    """Of every kind."""
    assert [expected] * len(urls) == [is_loopback(url) for url in urls]


@pytest.mark.parametrize("url", HERE)
def test_pods_cannot_call_back(url: str):
    """The sentence says which address, and who changes it."""
    with pytest.raises(InvalidInputError, match="could not call this marketplace back") as caught:
        provider(api_url=url).check({})
    assert url in str(caught.value)
    assert "INFRA_BASE_URL" in caught.value.hint


@pytest.mark.parametrize(
    ("api_url", "base_url"), [*((url, BASE_URL) for url in OUTSIDE), *((url, "http://127.0.0.1:9/v2") for url in HERE)]
)
def test_pods_call_back(api_url: str, base_url: str):
    """From outside, or from a stand-in on this machine."""
    assert provider(api_url=api_url, base_url=base_url).check({}) is None


def test_no_image_is_told_at_the_estimate():
    """Nothing is asked of RunPod; an image of the order's own will do."""
    with pair(image="") as both:
        with pytest.raises(InvalidInputError, match="names no trainer image") as caught:
            both.provider.offers("vnd_a", {"gpu": "L4"})
        assert "base_image" in caught.value.hint
        assert [] == both.fake.requests
        assert both.provider.offers("vnd_a", {"gpu": "L4", "base_image": "trainers/own:1"})
