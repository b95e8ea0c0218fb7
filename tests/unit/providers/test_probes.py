"""Asking services about keys: RunPod as its published contract has it, and addresses where nobody is."""

from __future__ import annotations

import pytest
from pydantic import SecretStr
from runpods import KEY, VENDORS, Pair

from mp_kit.contracts import ConnectionName, ConnectionStatus
from mp_kit.errors import UnavailableError
from mp_kit.server.providers.probes import Probes

NOWHERE = "http://127.0.0.1:9"


@pytest.mark.parametrize(("key", "status"), [(KEY, "ok"), ("rp-key-of-nobody-at-all", "refused")])
def test_runpod_is_asked_by_its_contract(runpod: Pair, key: str, status: str):
    """One list of pods, which the fake holds against RunPod's OpenAPI, and no more."""
    found = Probes(runpod.fake.url, NOWHERE, NOWHERE).ask(ConnectionName.RUNPOD, SecretStr(key))
    assert (ConnectionStatus(status), 1) == (found.status, len(runpod.fake.requests))
    assert key not in found.detail


@pytest.mark.parametrize("url", [NOWHERE, "http://127.0.0.1:99999", "http://[::1", "http://"])
@pytest.mark.parametrize("name", list(ConnectionName))
def test_nobody_there_is_unreachable(name: ConnectionName, url: str):
    """Whatever keeps a request from leaving says nothing about the key."""
    found = Probes(url, url, url).ask(name, SecretStr("a key of the test"))
    assert (ConnectionStatus.UNREACHABLE, True) == (found.status, found.detail.startswith(name.service))


def test_what_a_key_shows(runpod: Pair):
    """A pod of its own account and none of another's; None for a key that RunPod does not take."""
    handle = runpod.provider.launch(runpod.order())
    probes = Probes(runpod.fake.url, NOWHERE, NOWHERE)
    keys = (SecretStr(key) for key in (KEY, VENDORS["vnd_b"], "rp-key-of-nobody-at-all"))
    things = ["serverless/none", f"pods/{handle.ref}"]
    assert [True, False, None] == [probes.shows(key, things) for key in keys]


@pytest.mark.parametrize("url", [NOWHERE, "http://[::1"])
def test_nobody_there_shows_nothing(url: str):
    """That says nothing of the key."""
    with pytest.raises(UnavailableError):
        Probes(url, url, url).shows(SecretStr("a key of the test"), ["pods/x"])


def test_repr_shows_addresses_alone():
    """It holds no key to show."""
    assert "Probes(runpod_url='a', huggingface_url='b', wandb_url='c')" == repr(Probes("a", "b", "c"))
