"""Takes the pictures of docs/flows.md: a marketplace of its own, real flow runs, Prefect's own pages in Chromium.

    python scripts/prefect_screenshots.py [--home FOLDER]

Without ``--home`` it starts `mp up` in a temporary folder and ends it afterwards. It needs Chromium and Playwright, as
the browser tests do, and a few minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page, sync_playwright

MP = [sys.executable, "-m", "mp_kit.cli.main"]
IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MOST_BYTES = 150_000
WIDTH, HEIGHT = 1180, 800
PATIENCE_SECONDS = 600.0


def main() -> None:
    """Prepares, looks, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="Of a marketplace that runs already; one is started if left out.")
    chosen = parser.parse_args()
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mp-pictures-") as folder:
        if chosen.home:
            take(chosen.home)
        else:
            with marketplace(Path(folder) / "home") as home:
                take(home)


@contextmanager
def marketplace(home: Path) -> Iterator[Path]:
    """`mp up` for the length of a block."""
    argv = [*MP, "up", "--home", str(home), "--port", "0", "--source", "none"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment(home))
    try:
        if not (process.stdout and process.stdout.readline().startswith("ready ")):
            sys.exit("mp up did not start")
        yield home
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def environment(home: Path, **more: str) -> dict[str, str]:
    """Nothing of the surrounding marketplace leaks in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MP_", "PREFECT_", "INFRA_"))}
    own = {f"XDG_{name}_HOME": str(home.parent / name.lower()) for name in ("CONFIG", "CACHE", "STATE")}
    return kept | own | {"MP_HOME": str(home)} | more


def take(home: Path) -> None:
    """Makes something to look at, and the pictures of it."""
    state = json.loads((home / "state.json").read_text())
    api = httpx.Client(base_url=state["prefect_api_url"], timeout=30)
    run_id = furnish(home, state["base_url"])
    until(lambda: named(api, run_id)[:1] and named(api, run_id)[0]["state"]["type"] == "COMPLETED")
    report = until(lambda: [run for run in named(api, "report-daily") if run["state"]["type"] == "COMPLETED"])[0]
    publication = until(lambda: named(api, "publish-ecb"))[0]
    form = api.get("/deployments/name/publish-round/publish-round").json()["id"]
    ui = state["prefect_api_url"].removesuffix("/api")
    with sync_playwright() as playwright:
        program = next(filter(None, map(shutil.which, BROWSERS)))
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        pictures = {
            "deployments": (f"{ui}/deployments", "publish-round"),
            "form": (f"{ui}/deployments/deployment/{form}/run", "Source"),
            "round": (f"{ui}/runs/flow-run/{publication['id']}", "publish-ecb"),
            "report": (f"{ui}/runs/flow-run/{report['id']}", "report-daily"),
            "training": (f"{ui}/runs/flow-run/{named(api, run_id)[0]['id']}", run_id),
            "automations": (f"{ui}/automations", "mp: "),
        }
        for name, (url, words) in pictures.items():
            shoot(page, name, url, words)
        browser.close()


def furnish(home: Path, base_url: str) -> str:
    """A round, a vendor with a training run that succeeds, a report; gives the run's id."""
    mp(home, "admin", "round", "publish", "--symbols", "EURUSD,EURJPY,EURGBP")
    made = mp(home, "admin", "vendor", "create", f"Northwind {int(time.time()) % 10_000}")
    vendor = {"MP_TOKEN": made["api_key"], "MP_API_URL": base_url}
    order = ["train", "start", "--provider", "local", "--hp", "model_type=logistic", "--hp", "epochs=1"]
    run_id: str = mp(home, *order, **vendor)["run_id"]
    mp(home, "admin", "flow", "run", "report", "--wait", str(PATIENCE_SECONDS))
    return run_id


def mp(home: Path, *arguments: str, **env: str) -> Any:
    """A command's JSON."""
    argv = [*MP, *arguments, "--json"]
    done = subprocess.run(argv, env=environment(home, **env), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)}: {done.stderr}")
    return json.loads(done.stdout)


def named(api: httpx.Client, name: str) -> list[dict[str, Any]]:
    """Flow runs of a name, the newest first."""
    wanted = {"flow_runs": {"name": {"any_": [name]}}, "sort": "START_TIME_DESC"}
    found: list[dict[str, Any]] = api.post("/flow_runs/filter", json=wanted).json()
    return found


def until(happened: Callable[[], Any]) -> Any:
    """Waits for something true."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := happened()):
        if time.monotonic() > end:
            sys.exit("it never came to that")
        time.sleep(1)
    return found


def shoot(page: Page, name: str, url: str, words: str) -> None:
    """A picture of a page once it shows these words, no larger than the limit."""
    page.goto(url)
    page.get_by_text(words).first.wait_for(timeout=60_000)
    page.wait_for_timeout(2_500)  # charts and lists that come one after the other
    if "/runs/flow-run/" in url:
        page.get_by_text("Artifacts", exact=True).first.click()
        page.wait_for_timeout(2_500)
    path = IMAGES / f"prefect-{name}.png"
    page.screenshot(path=path, full_page=False)
    if path.stat().st_size > MOST_BYTES:
        shrink(path)
    print(f"{path.name}: {path.stat().st_size:,} bytes")


def shrink(path: Path) -> None:
    """Fewer colours: flat pages lose nothing that one sees."""
    from PIL import Image

    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(128)
    small.save(path, optimize=True)


if __name__ == "__main__":
    main()
