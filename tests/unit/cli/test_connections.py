"""``mp connections``: keys come from anywhere but the command line, and are shown nowhere."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mp_kit.contracts import ConnectionStatus
from mp_kit.errors import ForbiddenError
from mp_kit.testing import FakeMarketplace

Mp = Callable[..., Any]

KEY = "rpa_do_not_show_me_0123456789"
NAMES = {"runpod": "RUNPOD_API_KEY", "huggingface": "HF_TOKEN", "wandb": "WANDB_API_KEY"}


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    """A file with the key, and the line's end that editors leave."""
    path = tmp_path / "key"
    path.write_text(KEY + "\n")
    return str(path)


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of this machine's keys is seen."""
    for variable in NAMES.values():
        monkeypatch.delenv(variable, raising=False)


REFUSED = {
    "no such account": (("aws",), KEY, "'aws' is no connection"),
    "the key in the name's place": ((KEY,), KEY, "is no connection"),
    "too short": (("runpod",), "do_not_show", "16 to 512 characters"),
    "with a space": (("runpod",), "do_not_show_me do_not_show_me", "spaces"),
    "a key of another service": (("huggingface",), KEY, "one of RunPod"),
    "a key of ours": (("runpod",), "vk_do_not_show_me_0123456789", "of this marketplace"),
    "nothing at all": (("runpod",), "", "No key was given"),
    "no such file": (("runpod", "--value-file", "nowhere"), KEY, "cannot be read"),
    "no such variable": (("runpod", "--from-env"), KEY, "RUNPOD_API_KEY is not set"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_set_refuses(
    mp: Mp, signed_in: FakeMarketplace, monkeypatch: pytest.MonkeyPatch, case: tuple[tuple[str, ...], str, str]
):
    """Exit 5, nothing is sent, and the key is not repeated."""
    args, piped, told = case
    monkeypatch.setattr("sys.stdin", io.StringIO(piped))
    said = mp("connections", "set", *args)
    assert (5, "", True) == (said.code, said.out, told in said.err)
    assert "do_not_show" not in said.err
    assert [] == [request for request in signed_in.requests if "connections" in request]


def test_set_takes_one_source(mp: Mp, signed_in: FakeMarketplace, key_file: str):
    """Two are a usage error."""
    assert 2 == mp("connections", "set", "runpod", "--from-env", "--value-file", key_file).code
    assert [] == signed_in.connections.all()


def test_set_has_no_place_for_a_key(mp: Mp, signed_in: FakeMarketplace):
    """On the command line it would stay in the shell's history: usage error."""
    assert 2 == mp("connections", "set", "runpod", KEY).code
    assert [] == signed_in.connections.all()


@pytest.mark.usefixtures("signed_in")
def test_set_from_stdin(mp: Mp, monkeypatch: pytest.MonkeyPatch):
    """What is shown are the last four characters."""
    monkeypatch.setattr("sys.stdin", io.StringIO(KEY + "\n"))
    said = mp("connections", "set", "runpod", "--json")
    assert (0, "runpod", "6789", "unchecked") == (
        said.code,
        said.data["name"],
        said.data["last4"],
        said.data["status"],
    )
    assert KEY not in said.out + said.err


def test_set_from_a_file(mp: Mp, signed_in: FakeMarketplace, key_file: str):
    """The line's end is none of the key."""
    assert 0 == mp("connections", "set", "runpod", "--value-file", key_file).code
    assert ["6789"] == [known.last4 for known in signed_in.connections.all()]


@pytest.mark.parametrize(("name", "variable"), NAMES.items())
def test_set_from_the_environment(
    mp: Mp, signed_in: FakeMarketplace, monkeypatch: pytest.MonkeyPatch, name: str, variable: str
):
    """Each service's usual variable."""
    monkeypatch.setenv(variable, f"0123456789{name}abcdefgh")
    assert 0 == mp("connections", "set", name, "--from-env").code
    assert [name] == [known.name for known in signed_in.connections.all()]


def test_set_asks_on_a_terminal(mp: Mp, signed_in: FakeMarketplace, monkeypatch: pytest.MonkeyPatch):
    """Hidden."""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    monkeypatch.setattr("getpass.getpass", lambda prompt: KEY if prompt == "Key of RunPod: " else "")
    assert 0 == mp("connections", "set", "runpod").code
    assert ["6789"] == [known.last4 for known in signed_in.connections.all()]


def test_set_dry_run_sends_nothing(mp: Mp, signed_in: FakeMarketplace, key_file: str):
    """It checks the key's form and says what it would do."""
    said = mp("connections", "set", "runpod", "--value-file", key_file, "--dry-run")
    assert (0, "would set the runpod key that ends in 6789\n") == (said.code, said.out)
    assert [] == signed_in.connections.all()


@pytest.mark.parametrize(
    ("verdict", "code", "error"),
    [("ok", 0, None), ("refused", 7, "credential"), ("unreachable", 9, "unavailable")],
)
@pytest.mark.parametrize("command", ["test", "set --test"])
def test_test_says_what_the_service_says(
    mp: Mp, signed_in: FakeMarketplace, key_file: str, verdict: str, code: int, error: str | None, command: str
):
    """The result is on stdout in any case; a key that is no good is a failure too."""
    signed_in.connections.verdict = ConnectionStatus(verdict)
    if command == "test":
        mp("connections", "set", "runpod", "--value-file", key_file)
        said = mp("connections", "test", "runpod", "--json")
    else:
        said = mp("connections", "set", "runpod", "--value-file", key_file, "--test", "--json")
    assert (code, verdict) == (said.code, said.data["status"])
    assert error == (said.error["code"] if error else None)


@pytest.mark.usefixtures("signed_in")
def test_list_and_remove(mp: Mp, key_file: str):
    """What is removed is gone, and removing it again is exit 4."""
    mp("connections", "set", "runpod", "--value-file", key_file)
    assert [("runpod", "6789")] == [(row["name"], row["last4"]) for row in mp("connections", "list", "--json").data]
    assert "would remove runpod\n" == mp("connections", "remove", "runpod", "--dry-run").out
    assert "runpod (…6789) is removed.\n" == mp("connections", "remove", "runpod").out
    assert "Connections: none\n" == mp("connections", "list").out
    assert 4 == mp("connections", "remove", "runpod").code


def test_refusal_of_the_marketplace(mp: Mp, signed_in: FakeMarketplace, key_file: str):
    """Exit 3, as of any command."""
    signed_in.fail(ForbiddenError("no"), path="/api/vendors/connections")
    assert 3 == mp("connections", "set", "runpod", "--value-file", key_file).code
