"""The vendor's first notebook in a real JupyterLab in a real Chromium, and what its cards look like in both themes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import nbformat
import pytest
from browsers import SCREENSHOTS, browsing
from kernels import ROOT, SECRETS, prepared

from mp_kit.serving.project import free_port

pytestmark = [pytest.mark.hardening, pytest.mark.slow, pytest.mark.timeout(300)]
TOKEN = "a-token-of-the-tests-own"
OFFLINE = (
    "--no-browser",
    "--ServerApp.ip=127.0.0.1",
    "--ServerApp.port_retries=0",
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.user_settings_dir=settings",
    "--LabApp.extension_manager=readonly",
    "--LabApp.expose_app_in_browser=True",
)
NO_NEWS = ("@jupyterlab/apputils-extension/notification.jupyterlab-settings", '{"fetchNews": "false"}')
QUICKSTART, ERRORS = "01_quickstart.ipynb", "errors.ipynb"
COMMAND = "([id, args]) => window.jupyterapp.commands.execute(id, args)"
IDLE = "() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
DONE = f"""
() => ({IDLE})() && [...window.jupyterapp.shell.currentWidget.content.model.cells]
  .every((cell) => cell.type !== "code" || cell.executionCount)
"""
SHOTS = {
    "card": (QUICKSTART, "div[style*='46em']"),
    "table": (QUICKSTART, "table.mp-sorts"),
    "plot": (QUICKSTART, ".jp-RenderedImage"),
    "error": (ERRORS, ".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']"),
}
"""What is looked at, by name: the notebook and the output in it."""


@pytest.fixture(scope="module")
def lab(marketplace: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """JupyterLab on loopback, with a folder of two notebooks and nothing of this machine's user."""
    home = tmp_path_factory.mktemp("lab")
    folder = home / "work"
    folder.mkdir()
    notebook = prepared(ROOT / "notebooks/vendor" / QUICKSTART, {"epochs": 2, "name": "in-the-lab"})
    nbformat.write(notebook, folder / QUICKSTART)
    troubles = nbformat.read(ROOT / "notebooks/vendor/09_troubleshooting.ipynb", as_version=4)
    troubles.cells = [cell for cell in troubles.cells if cell.cell_type == "code"][:3]
    nbformat.write(troubles, folder / ERRORS)
    (home / "settings" / NO_NEWS[0]).parent.mkdir(parents=True)
    (home / "settings" / NO_NEWS[0]).write_text(NO_NEWS[1])
    port = free_port()
    env = marketplace.vendor.environment | {"HOME": str(home), "JUPYTER_TOKEN": TOKEN}
    root = ["--allow-root"] if os.geteuid() == 0 else []
    command = [sys.executable, "-m", "jupyterlab", *OFFLINE, *root, f"--ServerApp.port={port}"]
    with (home / "lab.log").open("w") as log:
        server = subprocess.Popen(
            [*command, f"--ServerApp.root_dir={folder}"], env=env, cwd=home, stdout=log, stderr=log
        )
    try:
        _until_it_answers(f"http://127.0.0.1:{port}", server, home / "lab.log")
        yield f"http://127.0.0.1:{port}", folder
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=30)


def _until_it_answers(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 90
    while time.monotonic() < until and server.poll() is None:
        try:
            if httpx.get(f"{url}/api", timeout=5).status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    pytest.fail(f"JupyterLab did not come up:\n{log.read_text()[-2000:]}")


def test_lab_wants_its_token(lab: tuple[str, Path]):
    """Nobody on this machine gets at the kernels without it."""
    assert 403 == httpx.get(f"{lab[0]}/api/contents").status_code


def test_quickstart_in_the_lab(lab: tuple[str, Path], marketplace: Any):
    """Run all: the run's card, sorted tables, plots, no error; then an error card; all of it in light and in dark."""
    url, folder = lab
    with browsing() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        _open(page, url, QUICKSTART)
        _run_all(page)
        _sorts(page)
        assert 0 == page.locator(".jp-needs-light-background, .jp-needs-dark-background").count()
        for theme in ("Light", "Dark"):
            _look(page, QUICKSTART, theme)
        _open(page, url, ERRORS)
        _run_all(page)
        for theme in ("Dark", "Light"):
            _look(page, ERRORS, theme)
    kept = json.loads((folder / QUICKSTART).read_text())
    outputs = [output for cell in kept["cells"] for output in cell.get("outputs", ())]
    assert [] == [output for output in outputs if output["output_type"] == "error"]
    assert 3 <= sum("image/png" in output.get("data", {}) for output in outputs)
    for name in (QUICKSTART, ERRORS):
        text = json.dumps([cell.get("outputs") for cell in json.loads((folder / name).read_text())["cells"]])
        assert [] == SECRETS.findall(text)
        assert marketplace.vendor_key not in text
    errors = [cell["outputs"][-1] for cell in json.loads((folder / ERRORS).read_text())["cells"]][1:]
    assert ["AuthError", "InvalidInputError"] == [error["ename"] for error in errors]


def _open(page: Any, url: str, name: str) -> None:
    """Opens a notebook and waits until its kernel is idle."""
    page.goto(f"{url}/lab/tree/{name}?reset&token={TOKEN}")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    page.wait_for_function(IDLE, timeout=60_000)


def _run_all(page: Any) -> None:
    """By the menu; waits for the last cell's end, then saves."""
    page.locator(".lm-MenuBar-itemLabel", has_text=re.compile("^Run$")).click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Run All Cells$")).click()
    page.wait_for_function(DONE, timeout=150_000)
    page.evaluate(COMMAND, ["docmanager:save", {}])


def _sorts(page: Any) -> None:
    """A click on a column's name."""
    table = page.locator("table.mp-sorts").first
    rows = table.locator("th", has_text=re.compile("^rows"))
    rows.click()
    place = rows.evaluate("head => [...head.parentElement.children].indexOf(head)")
    shown = table.locator("tbody tr").evaluate_all(
        "(rows, place) => rows.map((row) => Number(row.children[place].innerText.replaceAll(',', '')))", place
    )
    assert sorted(shown) == shown
    assert shown[0] < shown[-1]


def _look(page: Any, notebook: str, theme: str) -> None:
    """Keeps a picture of each output that is looked at, and of the whole page."""
    page.evaluate(COMMAND, ["apputils:change-theme", {"theme": f"JupyterLab {theme}"}])
    page.wait_for_function("light => document.body.dataset.jpThemeLight === light", arg=str(theme == "Light").lower())
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for name, (where, selector) in SHOTS.items():
        if where == notebook:
            found = page.locator(selector).first
            found.scroll_into_view_if_needed()
            assert found.bounding_box()["height"] > 40
            found.screenshot(path=SCREENSHOTS / f"jupyterlab-{name}-{theme.lower()}.png")
    page.screenshot(path=SCREENSHOTS / f"jupyterlab-page-{Path(notebook).stem}-{theme.lower()}.png")
