"""mp_kit in a real Jupyter kernel: magics, completion, error cards, plots, and a sign-in that nobody answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.hardening, pytest.mark.slow, pytest.mark.timeout(120)]
BEGIN = """
from mp_kit.testing import FakeMarketplace
import mp_kit as mp
fake = FakeMarketplace()
m = mp.connect(fake.url, fake.api_key, transport=fake.transport, sleep=lambda _: None)
%load_ext mp_kit
"""


@dataclass
class Shown:
    """What a cell left.

    Args:
        status: ok or error.
        text: Its streams together.
        error: The error's text without colours.
        data: Its outputs by kind, in order.
        asked: It wanted the keyboard.
    """

    status: str = ""
    text: str = ""
    error: str = ""
    data: list[dict[str, str]] = field(default_factory=list)
    asked: bool = False

    def take(self, message: dict[str, Any]) -> None:
        """Takes a message of the kernel in."""
        content = message["content"]
        if message["msg_type"] == "stream":
            self.text += content["text"]
        elif message["msg_type"] == "error":
            self.error = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(content["traceback"]))
        elif "data" in content:
            self.data.append(content["data"])

    def of(self, kind: str) -> list[str]:
        """The outputs of a kind."""
        return [data[kind] for data in self.data if kind in data]


class Kernel:
    """A running kernel, and a front end that would answer its questions."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def run(self, code: str) -> Shown:
        """Runs a cell."""
        shown = Shown()

        def asked(_: object) -> None:
            shown.asked = True
            self._client.input("")

        reply = self._client.execute_interactive(
            code, timeout=60, output_hook=shown.take, allow_stdin=True, stdin_hook=asked
        )
        shown.status = reply["content"]["status"]
        return shown

    def complete(self, code: str) -> list[str]:
        """What TAB offers at the end of the code."""
        asked = self._client.complete(code)
        while True:
            reply = self._client.get_shell_msg(timeout=30)
            if reply["parent_header"].get("msg_id") == asked:
                return list(reply["content"]["matches"])


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel in an empty home, connected to a marketplace in its memory."""
    import os

    from jupyter_client.manager import KernelManager

    home = tmp_path_factory.mktemp("home")
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("MP_", "XDG_", "INFRA_"))}
    manager = KernelManager(kernel_name="python3", transport="ipc", ip=str(home / "k"))
    manager.start_kernel(env=keep | {"HOME": str(home)}, cwd=str(home))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        started = Kernel(client)
        assert "ok" == started.run(BEGIN).status
        yield started
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_three_lines_to_a_plot(kernel: Kernel):
    """Import and connection are two; the third draws, each time."""
    for _ in range(2):
        shown = kernel.run('m.rounds.current().plot("EURUSD")')
        assert (1, []) == (len(shown.of("image/png")), shown.of("text/html"))


def test_command_runs_as_in_a_terminal(kernel: Kernel):
    """With the notebook's connection; the result on stdout."""
    shown = kernel.run("%mp data list --json")
    assert "Fake round" == json.loads(shown.text)[0]["name"]
    assert "ok" == kernel.run("%mp data pull --output round").status


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("%mp data inf", "Did you mean 'info'?"),
        ("%mp train status nope", "exit code 4"),
        ("%mp connections set runpod", "No key was given"),
        ("%mp login --api-url http://fake.marketplace", "No API key was given"),
        ("%mp up", "in a terminal"),
        ("%mp data 'x", "cannot be read"),
        ("%%mp signals push\nx", "takes no cell"),
        ("%%mp train\nmax_cost_uds: 2", "Did you mean max_cost_usd"),
    ],
)
def test_usage_errors_are_short_and_ask_nothing(kernel: Kernel, code: str, said: str):
    """A sentence, a stopped cell, no traceback and no question."""
    shown = kernel.run(code)
    told = shown.text + shown.error
    assert ("error", False) == (shown.status, shown.asked)
    assert said in told
    assert "Traceback" not in told
    assert len(told.splitlines()) <= 8


def test_training_cell_shows_a_live_card(kernel: Kernel):
    """The order is said first; the run is at hand afterwards."""
    shown = kernel.run("%%mp train --max-hours 1\nepochs: 20")
    assert "ordering: task=signal, round=current, max_hours=1, epochs=20" in shown.text
    assert "succeeded" in shown.of("text/html")[-1]
    assert "succeeded" in kernel.run("run.status.value").of("text/plain")[0]


@pytest.mark.parametrize(
    ("code", "offered"),
    [
        ('m.rounds["cu', {"current"}),
        ('m.train["', {"run_1"}),
        ("m.", {"rounds", "data", "train", "models", "deployments", "signals", "scores", "catalog"}),
        ("%mp da", {"data"}),
        ("%mp data pu", {"pull"}),
        ("%mp data pull --out", {"--output"}),
        ("%%mp tr", {"train"}),
        ("%%mp train --max-h", {"--max-hours"}),
        ("%%mp train\nmax_c", {"max_cost_usd: "}),
    ],
)
def test_completion(kernel: Kernel, code: str, offered: set[str]):
    """Names, ids, commands, options."""
    kernel.run('m.train.start("signal")')
    assert offered <= set(kernel.complete(code))


def test_views_complete_without_noise(kernel: Kernel):
    """The round's own names, not pydantic's."""
    kernel.run("r = m.rounds.current()")
    offered = set(kernel.complete("r."))
    assert {"plot", "table", "files"} <= offered
    assert not {"model_fields", "dict", "json", "parse_obj"} & offered


def test_error_is_a_card_and_tb_the_whole(kernel: Kernel):
    """At most eight lines; `%tb` shows the rest."""
    shown = kernel.run('m.deployments.create("x", cpu=-1)')
    assert len(shown.error.splitlines()) <= 8
    assert "InvalidInputError (invalid_input)\nThe deployment breaks the contract: cpu" in shown.error
    assert "Line 1 of the cell" in shown.error
    assert "Traceback" in kernel.run("%tb").error


def test_connect_without_a_profile(kernel: Kernel):
    """The card says what to do."""
    shown = kernel.run("mp.connect()")
    assert "SetupError (setup)" in shown.error
    assert "mp_kit.connect(URL)" in shown.error


def test_connect_without_a_key_where_nobody_is(kernel: Kernel):
    """A code is shown, the wait ends, what is public works; the keyboard is never read."""
    shown = kernel.run(
        "fake.sign_in.verdicts = fake.sign_in.verdicts[:1]\n"
        "n = mp.connect(fake.url, transport=fake.transport, sign_in=True, sleep=lambda _: None)\n"
        "n.rounds.current()"
    )
    assert ("ok", False) == (shown.status, shown.asked)
    cards = "".join(shown.of("text/html"))
    assert "enter the code" in cards
    assert "Not signed in. Nobody approved" in cards
    assert "Round round_" in shown.of("text/plain")[-1]


def test_outputs_hold_no_key(kernel: Kernel):
    """Neither a card nor a repr."""
    shown = kernel.run(
        "display(m, m.rounds, m.keys, m.me(), m.keys.create('x'), m.deployments.create('y', provider='byoc'))"
    )
    said = json.dumps(shown.data)
    assert not re.search(r"(vk|sit)_[a-z0-9]{4,}_?[A-Za-z0-9]{8,}", said)
    assert 6 == len(shown.data)


def test_table_sorts_by_click(kernel: Kernel, tmp_path: Path):
    """In a page that runs scripts; and it is a plain table without."""
    from browsers import browsing

    shown = kernel.run("m.rounds.current().table()").of("text/html")[0]
    page_file = tmp_path / "cell.html"
    page_file.write_text(f"<!doctype html><body>{shown}{shown}</body>")
    with browsing() as browser:
        page = browser.new_page()
        page.goto(page_file.as_uri())
        heads, first = page.locator("table").first.locator("th"), page.locator("table").first.locator("tbody td")
        heads.nth(0).click()
        assert "features-EURUSD.parquet" == first.nth(0).inner_text()
        heads.nth(0).press("Enter")
        assert "validation-EURUSD.parquet" == first.nth(0).inner_text()
        assert "descending" == heads.nth(0).get_attribute("aria-sort")
        assert 0 == page.locator("table").nth(1).locator("[aria-sort]").count()
