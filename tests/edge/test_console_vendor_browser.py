"""A vendor's own pages in a real Chromium: every page in three looks, and the ways through them.

One way leads from the login to a cancelled run, the other from a finished run to a deployment and its tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from browsers import FINDINGS, LOOKS, NARROW, browsing, keep
from desks import finished, furnish, now
from edges import serving
from hosts import MemoryHost

from mp_kit.contracts import DeploymentRequest
from mp_kit.contracts.training import LogChunk, LogChunkLine
from mp_kit.server.house import House
from mp_kit.server.processes import free_port
from mp_kit.server.services import deployments, runs, vendors
from mp_kit.server.services.hosting_keeper import Keeper, turn
from mp_kit.server.wiring import build

pytestmark = pytest.mark.slow
ROOT = "/marketplace/vendor"
PAGES = {
    "desk": ROOT,
    "training": f"{ROOT}/training",
    "new-run": f"{ROOT}/training/new",
    "run": f"{ROOT}/training/RUNNING",
    "run-waiting": f"{ROOT}/training/WAITING",
    "run-finished": f"{ROOT}/training/FINISHED",
    "models": f"{ROOT}/models",
    "model": f"{ROOT}/models/MODEL",
    "register": f"{ROOT}/models/new",
    "deployments": f"{ROOT}/deployments",
    "deploy": f"{ROOT}/deployments/new",
    "deployment": f"{ROOT}/deployments/DEPLOYMENT",
    "server": f"{ROOT}/deployments/SERVER",
    "connections": f"{ROOT}/connections",
    "keys": f"{ROOT}/keys",
    "webhooks": f"{ROOT}/webhooks",
}
OPEN = "document.querySelectorAll('details').forEach((one) => { one.open = true; })"
EMPTY = [name for name, path in PAGES.items() if path == path.lower()]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium."""
    with browsing() as started:
        yield started


@pytest.fixture(scope="module")
def world(browser: Any, house: House, migrated_url: Callable[[], str]) -> Iterator[SimpleNamespace]:
    """A marketplace with a vendor whose desk is full, and one who has just come; not made without a browser."""
    settings = replace(house.settings, base_url=f"http://127.0.0.1:{free_port()}", database_url=migrated_url())
    host = MemoryHost()
    built = replace(
        build(settings), hosts={("local", "process"): host, ("runpod", "endpoint"): host, ("runpod", "pod"): host}
    )
    with built.db.begin() as tx:
        full, new = (vendors.create(tx, built.tokens, name, actor="test") for name in ("Full Desk", "Newcomer"))
    ids = furnish(built, full.vendor_id)
    ids.server = launched(built, full.vendor_id, ids.model)
    with serving(built):
        yield SimpleNamespace(url=settings.base_url, house=built, browser=browser, ids=ids, full=full, new=new)
    built.close()


def launched(house: House, vendor_id: str, model_id: str) -> str:
    """A deployment on an endpoint that is up; gives its id."""
    wanted = DeploymentRequest(name="cloud", provider="runpod", model_id=model_id, workers_max=3)
    with house.db.begin() as tx:
        made = deployments.create(tx, house.tokens, vendor_id, wanted, actor="test", hosts=house.hosts)
    turn(Keeper(house.db, house.hosts, house.tokens, house.settings.base_url))
    return made.deployment_id


@pytest.fixture
def open_page(world: SimpleNamespace) -> Iterator[Callable[..., Any]]:
    """Opens a browser of its own and signs a vendor in by way of the form; gives its page."""
    contexts = []

    def start(vendor: Any, **look: Any) -> Any:
        contexts.append(world.browser.new_context(base_url=world.url, **look))
        page = contexts[-1].new_page()
        page.goto(f"/marketplace/login?next={ROOT}")
        page.get_by_label("API key").fill(vendor.api_key)
        page.locator("main").get_by_role("button", name="Sign in").click()
        return page

    yield start
    for context in contexts:
        context.close()


@pytest.mark.parametrize("look", list(LOOKS))
def test_pages_are_accessible(world: SimpleNamespace, open_page: Callable[..., Any], look: str):
    """No finding on any page, full or empty, and nothing against the policy."""
    page = open_page(world.full, **LOOKS[look])
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text))
    for name, path in PAGES.items():
        page.goto(re.sub("[A-Z]+$", lambda found: getattr(world.ids, found[0].lower()), path))
        keep(page, f"vendor-{name}-{look}")
        page.evaluate(OPEN)
        assert [] == page.evaluate(FINDINGS), name
        assert 0 == page.evaluate(NARROW), name
    page = open_page(world.new, **LOOKS[look])
    for name in EMPTY:
        page.goto(PAGES[name])
        keep(page, f"vendor-{name}-empty-{look}")
        assert [] == page.evaluate(FINDINGS), name
    assert not [said for said in complaints if "Security" in said or "Error" in said]


@pytest.mark.parametrize("with_script", [True, False], ids=["script", "no-script"])
def test_from_login_to_a_cancelled_run(world: SimpleNamespace, open_page: Callable[..., Any], with_script: bool):
    """The form says what is wrong and keeps what was typed; estimate, order, log, cancel; by keyboard names alone."""
    page = open_page(world.full, java_script_enabled=with_script, **LOOKS["light"])
    page.get_by_role("link", name="Training", exact=True).click()
    page.get_by_role("link", name="New run").click()
    page.get_by_label("Hyperparameters").fill("epochs=3\nlr=fast")
    page.get_by_label("Machine").select_option("byoc")
    page.get_by_label("US dollars at most").fill("5")
    page.get_by_role("button", name="Order the run").click()
    assert "Hyperparameter lr" in page.locator("#e-hyperparams").inner_text()
    assert ("epochs=3\nlr=fast", "5") == tuple(
        page.get_by_label(name).input_value() for name in ("Hyperparameters", "US dollars at most")
    )
    keep(page, f"vendor-new-run-wrong-{'script' if with_script else 'plain'}")
    page.get_by_label("Hyperparameters").fill("epochs=3\nlr=0.01")
    page.get_by_role("button", name="Show the estimate").click()
    assert page.get_by_role("heading", name="At the worst").is_visible()
    keep(page, f"vendor-new-run-estimate-{'script' if with_script else 'plain'}")
    page.get_by_role("button", name="Order the run").click()
    assert "The run is ordered." in page.locator(".said").first.inner_text()
    assert page.locator("h1").inner_text().startswith("run_")
    page.get_by_text("Cancel this run…").click()
    page.get_by_role("button", name="Yes, cancel it").click()
    assert "The run is cancelled." in page.locator(".said").inner_text()
    assert "You cancelled it" in page.locator(".lede").inner_text()


@pytest.mark.parametrize("with_script", [True, False], ids=["script", "no-script"])
def test_from_a_finished_run_to_a_rotated_token(
    world: SimpleNamespace, open_page: Callable[..., Any], with_script: bool
):
    """Registered with two clicks, promoted, refused at the gates, deployed on one's own machine, its token rotated."""
    vendor, mark = (world.full, "script") if with_script else (world.new, "plain")
    with world.house.db.begin() as tx:
        run_id = finished(tx, vendor.vendor_id)
    page = open_page(vendor, java_script_enabled=with_script, **LOOKS["light"])
    page.goto(f"{ROOT}/training/{run_id}")
    page.get_by_role("link", name="Register this model").click()
    page.get_by_role("button", name="Register it").click()
    assert "Version 1 is registered." in page.locator(".said").inner_text()
    page.get_by_label("From shadow to").select_option("pilot")
    page.get_by_label("Why", exact=False).first.fill("it looks good")
    page.get_by_role("button", name="Change the stage").click()
    assert "The version is in pilot now." in page.locator(".said").inner_text()
    page.get_by_label("From pilot to").select_option("prod")
    page.get_by_role("button", name="Change the stage").click()
    assert 4 == page.get_by_role("alert").locator("li").count()
    keep(page, f"vendor-model-refused-{mark}")
    page.get_by_role("link", name="Deploy it").click()
    page.get_by_label("Machine").select_option("byoc")
    assert not page.get_by_label("Workers at most").is_visible()
    page.get_by_label("Machine").select_option("runpod")
    assert page.get_by_label("Workers at most").is_visible()
    keep(page, f"vendor-deploy-runpod-{mark}")
    page.get_by_label("Machine").select_option("byoc")
    page.get_by_role("button", name="Deploy it").click()
    token = page.locator(".once code").last.inner_text()
    keep(page, f"vendor-deployment-token-{mark}")
    page.get_by_label("Seconds that the earlier ones live on").fill("60")
    page.get_by_role("button", name="Rotate").click()
    assert page.locator(".once code").last.inner_text() not in {"", token}
    assert 2 == page.get_by_role("region", name="Tokens").locator("tbody tr").count()
    page.get_by_text("Revoke all of yours…").click()
    page.get_by_role("button", name="Yes, end them").click()
    assert "2 tokens ended." in page.locator(".said").inner_text()


def test_log_grows_by_itself(world: SimpleNamespace, open_page: Callable[..., Any]):
    """A line that comes later appears without loading the page again, and stays text."""
    page = open_page(world.full, **LOOKS["light"])
    page.goto(f"{ROOT}/training/{world.ids.running}")
    page.get_by_text("Live: new lines").wait_for()
    with world.house.db.begin() as tx:
        line = LogChunkLine(at=now(), stream="stderr", text="<b>epoch 3</b>")
        runs.append_logs(tx, world.ids.running, LogChunk(seq=2, lines=[line]), now=now())
    page.locator("#log .stderr").wait_for()
    assert "epoch 1\nepoch 2\n<b>epoch 3</b>\n" == page.locator("#log").evaluate("box => box.textContent")


def test_ended_session_returns_to_the_form(world: SimpleNamespace, open_page: Callable[..., Any]):
    """By way of the login."""
    page = open_page(world.new)
    page.goto(f"{ROOT}/keys")
    with world.house.db.begin() as tx:
        vendors.end_sessions(tx, world.new.vendor_id, actor="test")
    page.get_by_role("button", name="Make a key").click()
    assert "Your session has ended" in page.get_by_role("status").inner_text()
    page.get_by_label("API key").fill(world.new.api_key)
    page.locator("main").get_by_role("button", name="Sign in").click()
    assert page.url.endswith(f"{ROOT}/keys")
