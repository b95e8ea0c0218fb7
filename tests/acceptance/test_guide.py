"""The guide's end-to-end test, all eight steps of it: an external developer, with nothing but commands.

Steps 1 to 5 make the model, 5 to 8 put it on RunPod and have it heard; what a stranger then sees is looked at in a
browser. RunPod is the stand-in, as a process; everything else is what `mp up` runs.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
from browsers import FINDINGS, LOOKS, browsing, keep

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

VENDOR = "Northwind Quant"
SYMBOL = "EURUSD"
LAUNCH_SECONDS = 60.0
PATIENCE_SECONDS = 60.0


@dataclass
class Developer:
    """An external developer at a shell.

    Attributes:
        shell: Where the commands run.
        said: All that they printed.
        secrets: What must never be among it.
        facts: What came of the steps.
    """

    shell: Any
    secrets: list[str]
    said: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def mp(self, *arguments: str, stdin: str | None = None, code: int = 0) -> str:
        """Runs a command and gives what it printed."""
        done = self.shell.run(*arguments, stdin=stdin)
        self.said += [done.stdout, done.stderr]
        assert code == done.returncode, f"mp {' '.join(arguments)}: {done.stdout}{done.stderr}"
        out: str = done.stdout if code == 0 else done.stderr
        return out

    def json(self, *arguments: str) -> Any:
        """Runs a command and reads its JSON."""
        return json.loads(self.mp(*arguments, "--json"))


def until(happened: Callable[[], Any]) -> Any:
    """What came, once it did."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := happened()):
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.3)
    return found


def curl(url: str) -> Any:
    """As the guide asks, without a token; the answer's data."""
    done = subprocess.run(["curl", "-sS", url], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["data"]


@pytest.fixture(scope="module")
def developer(marketplace: Any, tmp_path_factory: pytest.TempPathFactory) -> Developer:
    """Steps 1 to 5: the tool, the key, the data, a training at RunPod, a project, a model in pilot."""
    key = marketplace.operator.json("admin", "vendor", "create", VENDOR)["api_key"]
    shell = type(marketplace.vendor)(tmp_path_factory.mktemp("developer"), {"RUNPOD_API_KEY": marketplace.runpod_key})
    who = Developer(shell, [key, marketplace.runpod_key])
    assert who.mp("--version").startswith("mp ")  # 1
    assert VENDOR in who.mp("login", "--api-url", marketplace.url, "--api-key", "-", stdin=key)  # 2
    assert "verified" in who.mp("data", "pull", "--round", "current")  # 3
    who.mp("connections", "set", "runpod", "--from-env", "--test")
    run = who.mp("train", "start", "--task", "signal", "--round", "current").strip()  # 4
    who.mp("init", "--template", "runpod-signal-http")  # 5, while it trains
    # The longest answer of a machine that does much besides says nothing of the server.
    who.mp("validate", "--dir", "my-model", "--max-p95-ms", "60000", "--report", "report.json")
    done = who.json("train", "wait", run, "--timeout", "120")
    made = who.json("register", "--name", "my-model", "--run-id", run, "--report", "report.json")
    who.mp("models", "promote", "my-model", "0.1.0", "pilot", "--why", "to be heard")
    who.facts = {"run": done, "model_id": made["model_id"]}
    return who


@pytest.fixture(scope="module")
def heard(marketplace: Any, developer: Developer) -> Developer:
    """Steps 5 to 8: deployed on RunPod, linked, asked with bars of the round, and blended by the flow."""
    who = developer
    live = who.json("deploy", "--provider", "runpod")  # 5
    assert ("my-model", "running", 0) == (live["name"], live["hosting"]["state"], live["hosting"]["workers_min"])
    linked = who.json("link-infra", "--test")  # 6
    assert ({"deployment_id": live["deployment_id"]} | {"test": "accepted"}) == linked
    answer = who.json("deployments", "ask", "my-model", "--symbol", SYMBOL)  # 8
    [signal] = until(lambda: who.json("signals", "list", "--deployment", live["deployment_id"]))
    assert (answer["decision"], answer["confidence"]) == (signal["decision"], signal["confidence"])
    marketplace.operator.json("admin", "flow", "run", "ingest-signals")
    who.facts |= {"live": live["deployment_id"], "signal": signal}
    return who


def test_training_started_in_time_on_a_gpu(developer: Developer):
    """RunPod is the default; the job runs within the guide's minute, and its cost is told."""
    run = developer.facts["run"]
    began, ordered = (datetime.fromisoformat(run[name]) for name in ("started_at", "created_at"))
    assert ("runpod", "succeeded") == (run["provider"], run["status"])
    assert (began - ordered).total_seconds() < LAUNCH_SECONDS
    assert 0 < run["cost_usd"] < run["max_cost_usd"]


def test_model_is_in_the_public_catalogue(marketplace: Any, heard: Developer):
    """Step 7: what was said so far is counted, what was not measured is null."""
    [entry] = [one for one in curl(f"{marketplace.url}/api/catalog") if one["id"] == heard.facts["model_id"]]
    assert (VENDOR, "pilot", None) == (entry["vendor"], entry["stage"], entry["last_oos_sharpe"])
    assert 1 <= entry["total_predictions"]
    assert SYMBOL in entry["supported_symbols"]


def test_signal_is_blended_with_its_vendor(marketplace: Any, heard: Developer):
    """Step 8: the public consensus names who said what."""
    signal = heard.facts["signal"]
    told = curl(f"{marketplace.url}/api/consensus/latest?symbol={SYMBOL}&timeframe={signal['timeframe']}")
    part = told["contributions"][heard.facts["live"]]
    assert (VENDOR, signal["decision"]) == (part["vendor"], part["decision"])
    assert datetime.fromisoformat(signal["event_time"]) == datetime.fromisoformat(told["event_time"])


def test_strangers_see_it_in_a_browser(marketplace: Any, heard: Developer):
    """Step 8, logged out: the vendor on the consensus of the symbol, the model in the catalogue and on its page."""
    with browsing() as browser:
        context = browser.new_context(base_url=marketplace.url, **LOOKS["light"])  # type: ignore[attr-defined] # Playwright's
        page = context.new_page()
        page.goto("/consensus")
        page.get_by_role("link", name=SYMBOL).first.click()
        page.wait_for_url(f"**/consensus?symbol={SYMBOL}*")
        voice = page.locator("tr", has_text=heard.facts["live"])
        assert VENDOR in voice.inner_text()
        assert heard.facts["signal"]["decision"] in voice.inner_text()
        assert [] == page.evaluate(FINDINGS)
        keep(page, "guide-consensus")
        page.goto("/marketplace")
        found = page.locator("tr, li, article", has_text=VENDOR).filter(has_text="my-model").first
        found.get_by_role("link", name="my-model").first.click()
        page.wait_for_url(f"**/marketplace/models/{heard.facts['model_id']}")
        shown = page.locator("main").inner_text()
        assert (True, True) == (f"by {VENDOR}" in shown, re.search(r"Signals\s+[1-9]", shown) is not None)
        assert [] == page.evaluate(FINDINGS)
        keep(page, "guide-model")
        page.goto("/marketplace")
        keep(page, "guide-catalogue")
        context.close()


def test_served_here_and_the_gates_of_prod(marketplace: Any, developer: Developer):
    """The same model on the marketplace's machine; what prod still wants is told by name, and the operator speaks."""
    who = developer
    live = who.json("deploy", "--provider", "local", "--name", "here")
    assert ("ready", "online", "running") == (live["status"], live["liveness"], live["hosting"]["state"])
    assert None is live.get("infra_token")
    who.json("deployments", "ask", "here", "--symbol", "EURJPY")
    error = json.loads(who.mp("models", "promote", "my-model", "0.1.0", "prod", "--json", code=7).splitlines()[-1])
    said = error["error"]["message"]
    assert (True, True, False) == ("approval" in said, "scores" in said, "validated" in said)
    approve = ("admin", "model", "approve", who.facts["model_id"], "0.1.0", "--why", "rehearsed")
    assert 0 == marketplace.operator.run(*approve).returncode
    [version] = who.json("models", "lineage", "my-model")["versions"]
    met = {gate["name"]: gate["met"] for gate in version["gates"]}
    assert {"validated": True, "heartbeats": True, "scores": False, "approval": True} == met
    assert who.facts["run"]["run_id"] == version["run"]["run_id"]
    until(lambda: who.json("signals", "list", "--deployment", live["deployment_id"]))
    who.mp("deployments", "remove", "here")


def test_linked_tokens_are_rotated_and_revoked(heard: Developer):
    """The former one lives on for a while, the fresh one is tried all the way; revoked, none does, but the server's."""
    again = heard.json("link-infra", "--deployment", "my-model", "--rotate", "--overlap", "600", "--test")
    assert (heard.facts["live"], "accepted") == (again["deployment_id"], again["test"])
    assert 3 == heard.json("link-infra", "--deployment", "my-model", "--revoke")["revoked"]
    [signal] = heard.json("signals", "list", "--deployment", heard.facts["live"])
    assert heard.facts["signal"] == signal


def test_no_secret_was_shown(marketplace: Any, heard: Developer):
    """Neither the keys nor a deployment's token, in what the commands said and in what the marketplace logged."""
    kept = json.loads((heard.shell.folder / "config/mp/config.json").read_text())
    secrets = [*heard.secrets, *kept["deployments"].values()]
    logged = [path.read_text(errors="replace") for path in (marketplace.home / "logs").glob("*.log")]
    assert (True, True) == (bool(kept["deployments"]), bool(logged))
    assert [] == [secret[:8] for secret in secrets for text in (*heard.said, *logged) if secret in text]
