"""``make demo``: the main job from end to end on this machine, with real parts and real currency bars.

Every step is what a person would type; each is timed, and what it proved stands in the last table. The story is told in
``docs/tour.md``. Nothing is left running.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
MP = str(Path(sys.executable).with_name("mp"))
READY_SECONDS = 240


class DemoError(Exception):
    """A step did not do what it should."""


@dataclass
class Story:
    """The demo's state: where everything lies, what was done, what was proved."""

    folder: Path
    console: Console
    source: str
    provider: str
    symbols: list[str]
    api_url: str = ""
    runpod_url: str = ""
    runpod_key: str = field(default_factory=lambda: f"rpa_{secrets.token_hex(16)}", repr=False)
    rows: list[tuple[str, float, str]] = field(default_factory=list)

    @property
    def home(self) -> Path:
        """The marketplace's home."""
        return self.folder / "home"

    @property
    def vendor_env(self) -> dict[str, str]:
        """The environment of an outsider: its own configuration, nothing of the operator's."""
        operators = ("MP_", "PREFECT_", "INFRA_", "AWS_", "CLOUDFLARE_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(operators)}
        outside = {
            "XDG_CONFIG_HOME": str(self.folder / "vendor/config"),
            "XDG_CACHE_HOME": str(self.folder / "vendor/cache"),
        }
        return kept | outside

    @contextmanager
    def step(self, title: str) -> Iterator[list[str]]:
        """Times a step and collects what it proved."""
        self.console.rule(f"[bold]{len(self.rows) + 1}. {title}", align="left")
        proved: list[str] = []
        began = time.monotonic()
        yield proved
        self.rows.append((title, time.monotonic() - began, "; ".join(proved)))
        for line in proved:
            self.console.print(f"   [green]✓[/] {line}", highlight=False)

    def mp(self, *arguments: str, env: dict[str, str] | None = None, stdin: str | None = None) -> str:
        """Runs an `mp` command and returns what it printed."""
        done = subprocess.run(
            [MP, *arguments], env=env, input=stdin, capture_output=True, text=True, check=False, cwd=self.folder
        )
        if done.returncode != 0:
            raise DemoError(f"mp {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}{done.stdout}")
        return done.stdout

    def operator(self, *arguments: str) -> dict[str, Any]:
        """Runs an operator's command over the home and reads its JSON."""
        answer: dict[str, Any] = json.loads(self.mp("admin", *arguments, "--home", str(self.home), "--json"))
        return answer

    def get(self, path: str, **params: str) -> Any:
        """What anybody may read over HTTP."""
        response = httpx.get(f"{self.api_url}{path}", params=params, timeout=30)
        response.raise_for_status()
        return response.json()["data"]


@contextmanager
def running(story: Story, name: str, command: list[str], env: dict[str, str] | None = None) -> Iterator[str]:
    """A program that prints ``ready URL`` when it is; stopped at the end as Ctrl-C would."""
    log = story.folder / f"{name}.log"
    with log.open("w") as out:
        program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=out, text=True, env=env)
    line = program.stdout.readline() if program.stdout else ""
    try:
        if not line.startswith("ready "):
            program.wait(timeout=READY_SECONDS)
            raise DemoError(f"{name} did not get ready:\n{log.read_text()}")
        yield line.split()[1]
    finally:
        program.send_signal(signal.SIGINT)
        try:
            program.wait(timeout=60)
        except subprocess.TimeoutExpired:
            program.kill()


def runpod_command(story: Story) -> list[str]:
    """A server of ours that speaks RunPod's REST v2 and runs the containers as processes of this machine."""
    openapi = ROOT.parent / "shared/facts/runpod-openapi-v2.json"
    checked = ["--openapi", str(openapi)] if openapi.exists() else []
    keys = ["--keys", f"{story.runpod_key}=25"]
    return [sys.executable, "-m", "mp_kit.testing.fake_runpod", "--folder", str(story.folder / "pods"), *keys, *checked]


def runpod(story: Story, path: str, **params: str) -> Any:
    """What RunPod answers to the vendor's own key."""
    headers = {"Authorization": f"Bearer {story.runpod_key}"}
    answer = httpx.get(f"{story.runpod_url}{path}", params=params, headers=headers, timeout=30)
    answer.raise_for_status()
    return answer.json()


def publish(story: Story) -> None:
    """The operator publishes a round through the Prefect deployment, twice."""
    wanted = ["round", "publish", "--source", story.source, *(a for s in story.symbols for a in ("--symbols", s))]
    with story.step("Publish a round of real bars (Prefect deployment publish-round)") as proved:
        made = story.operator(*wanted)
        current = story.get("/api/rounds/current")
        bars = current["metadata"]["input_bars"]
        splits = made["splits"]
        proved += [
            f"round {current['round_id']} is current: {len(current['files'])} files of {bars:,} bars",
            f"train ends {splits['train_ends']}, validation begins {splits['validation_begins']}, purged and embargoed",
        ]


def enrol(story: Story) -> None:
    """The operator creates a vendor; from here on everything goes through the edge."""
    with story.step("Create a vendor and sign in as it") as proved:
        vendor = story.operator("vendor", "create", "ACME Research")
        login = ["login", "--api-url", story.api_url, "--api-key", "-", "--json"]
        story.mp(*login, env=story.vendor_env, stdin=vendor["api_key"])
        proved.append(f"vendor {vendor['vendor_id']} signed in with its vk_ key; the key was piped, never printed")
        if story.provider == "runpod":
            connect(story, proved)


def connect(story: Story, proved: list[str]) -> None:
    """The vendor's RunPod account: the key goes into the vault; prices are asked before anything is ordered."""
    story.mp("connections", "set", "runpod", env=story.vendor_env, stdin=story.runpod_key)
    checked = json.loads(story.mp("connections", "test", "runpod", "--json", env=story.vendor_env))
    expect(checked["status"] == "ok", "RunPod takes the key")
    wanted = ["train", "start", "--gpu", "RTX4090", "--max-hours", "1", "--max-cost", "1"]
    quoted = json.loads(story.mp(*wanted, "--dry-run", "--json", env=story.vendor_env))["estimate"]
    proved += [
        "RunPod connected: the key lies in the vault, and RunPod (a stand-in on this machine) takes it",
        f"an hour on an RTX 4090 would cost ${quoted['worst_case_usd']:.2f} at most; nothing was ordered",
    ]


def quickstart(story: Story) -> dict[str, Any]:
    """The vendor's notebook, headless."""
    notebook = ROOT / "notebooks/vendor/01_quickstart.ipynb"
    executed = story.folder / "01_quickstart.ipynb"
    with story.step("Run notebooks/vendor/01_quickstart.ipynb as the vendor (papermill)") as proved:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "papermill", str(notebook), str(executed), "--cwd", str(story.folder)),
                *("-p", "provider", story.provider, "--no-progress-bar", "--log-level", "ERROR"),
            ],
            env=story.vendor_env,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise DemoError(f"the notebook failed (kept at {executed}):\n{done.stderr[-4000:]}")
        told: dict[str, Any] = json.loads((story.folder / "quickstart/summary.json").read_text())
        measured = told["metrics"]
        loss, baseline = measured["validation_log_loss"], measured["validation_baseline_log_loss"]
        refused = told["duplicates_on_second_push"]
        proved += [
            f"{told['files']} files, {told['bytes_verified']:,} bytes verified against the signed manifest",
            f"run {told['run_id']} learned, and was measured on the purged validation rows",
            f"log loss {loss:.5f} {'beats' if loss < baseline else 'does not beat'} the baseline's {baseline:.5f}",
            f"{told['accepted']} signals accepted; pushed again, {refused} refused as duplicates",
        ]
        expect(told["accepted"] == refused > 0, "the second push must store nothing")
        expect(told["accepted_on_second_push"] == 0, "the second push must store nothing")
    return told


def settle(story: Story, told: dict[str, Any]) -> None:
    """What the training cost, and that nothing of it is left."""
    with story.step("Look at the money: the pod is gone, its bill is the run's cost") as proved:
        run = json.loads(story.mp("train", "status", told["run_id"], "--json", env=story.vendor_env))
        expect(runpod(story, "/pods")["pods"] == [], "no pod is left on the account")
        swept = story.operator("sweep")
        expect(swept["strays"] == [], "nothing was astray")
        billed = json.loads(story.mp("train", "status", told["run_id"], "--json", env=story.vendor_env))["cost_usd"]
        proved += [
            f"the run ended as {run['status']} and cost ${billed:.4f}, by RunPod's bill; no pod is left",
            f"mp admin sweep: {len(swept['strays'])} stray machines, {swept['bills']} bills came",
        ]


def blend(story: Story, told: dict[str, Any]) -> None:
    """The flow ingest-signals builds the consensus; catalogue, signals and consensus are read over HTTP."""
    with story.step("Build the consensus (Prefect deployment ingest-signals) and read it over HTTP") as proved:
        story.operator("flow", "run", "ingest-signals")
        bars = story.get("/api/consensus", limit="1000")
        parts = [part for bar in bars for part in bar["contributions"].values()]
        expect(bool(parts) and all(part["vendor"] == "ACME Research" for part in parts), "each part names its vendor")
        proved.append(f"/api/consensus: {len(bars)} bars, each with its vendor's part")
        story.console.print(newest(bars))
        entry = next((model for model in story.get("/api/catalog") if model["id"] == told["model_id"]), None)
        expect(entry is not None and entry["total_predictions"] == told["accepted"], "the model is in the catalogue")
        proved.append(
            f"/api/catalog: {told['model_id']} at stage pilot, {told['accepted']} predictions, Sharpe not measured yet"
        )
        listed = json.loads(story.mp("signals", "list", "--json", env=story.vendor_env))
        expect(bool(listed), "the vendor reads its signals")
        proved.append("the vendor reads its own signals back, attributed to its deployment")


def newest(bars: list[dict[str, Any]]) -> Table:
    """The newest consensus of each symbol, and who it comes from."""
    table = Table("symbol", "bar", "decision", "confidence", "from")
    for bar in {bar["symbol"]: bar for bar in reversed(bars)}.values():
        voices = [f"{part['vendor']}: {part['decision']}" for part in bar["contributions"].values()]
        table.add_row(bar["symbol"], bar["event_time"], bar["decision"], f"{bar['confidence']:.2f}", ", ".join(voices))
    return table


def report(story: Story, keep: Path) -> None:
    """The flow report writes the daily report as HTML."""
    with story.step("Write the daily report (Prefect deployment report)") as proved:
        done = story.operator("flow", "run", "report", "--param", "name=daily")
        keep.mkdir(parents=True, exist_ok=True)
        target = keep / "daily.html"
        target.write_bytes(written(story, done["result"]["path"]))
        expect(b"<html" in target.read_bytes()[:2000].lower(), "the report is a page")
        proved.append(f"{target} ({target.stat().st_size // 1024} KiB)")


def written(story: Story, place: str) -> bytes:
    """What a flow wrote: a file, or an object where the store is a bucket."""
    if Path(place).is_absolute():
        return Path(place).read_bytes()
    from mp_kit.server.wiring import open_house

    with open_house(story.home) as house, house.store.open(place) as file:
        return file.read()


def expect(fact: bool, sentence: str) -> None:
    """A proof that failed ends the demo."""
    if not fact:
        raise DemoError(f"not so: {sentence}")


def tell(story: Story, began: float) -> None:
    """The last table: what was done, how long it took, what was proved."""
    table = Table(title="mp-kit, the main job end to end", show_lines=True)
    table.add_column("step")
    table.add_column("seconds", justify="right")
    table.add_column("proved")
    for title, seconds, proved in story.rows:
        table.add_row(title, f"{seconds:.1f}", proved)
    table.add_row("all of it", f"{time.monotonic() - began:.1f}", "")
    story.console.print(table)


def play(story: Story, keep: Path, stack: ExitStack) -> None:
    """The whole story; what it starts, the stack ends."""
    began = time.monotonic()
    env = dict(os.environ)
    if story.provider == "runpod":
        story.runpod_url = stack.enter_context(running(story, "runpod", runpod_command(story)))
        env |= {"MP_RUNPOD_URL": story.runpod_url, "MP_TRAINER_IMAGE": "mp-kit/trainer:demo"}
    with story.step("Start the marketplace (mp up): Postgres, migrations, Prefect, worker, edge") as proved:
        command = [MP, "up", "--home", str(story.home), "--port", "0", "--source", "none", "--no-schedules"]
        story.api_url = stack.enter_context(running(story, "up", command, env))
        proved.append(f"ready at {story.api_url}, healthy: {httpx.get(f'{story.api_url}/api/health').json()['status']}")
    publish(story)
    enrol(story)
    told = quickstart(story)
    if story.provider == "runpod":
        settle(story, told)
    blend(story, told)
    report(story, keep)
    stack.close()
    tell(story, began)


@contextmanager
def _passing() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mp-demo-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def main() -> int:
    """Parses, plays, cleans up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default=os.environ.get("SOURCE", "ecb"), help="ecb, or a path of OHLCV CSV/Parquet")
    parser.add_argument("--symbols", action="append", default=[], help="only these; may be repeated")
    parser.add_argument(
        "--provider", default="runpod", help="where to train: runpod (a stand-in on this machine) or local"
    )
    parser.add_argument("--folder", type=Path, help="play here, and leave all of it; else in a folder that goes")
    parser.add_argument("--keep", type=Path, default=ROOT / "build/demo", help="where the report is kept")
    chosen = parser.parse_args()
    console = Console(soft_wrap=False)
    source = chosen.source if chosen.source == "ecb" or "://" in chosen.source else str(Path(chosen.source).resolve())
    with ExitStack() as places:
        folder = chosen.folder.absolute() if chosen.folder else places.enter_context(_passing())
        folder.mkdir(parents=True, exist_ok=True)
        story = Story(folder, console, source, chosen.provider, chosen.symbols)
        try:
            with ExitStack() as stack:
                play(story, chosen.keep.absolute(), stack)
        except DemoError as error:
            kept = chosen.keep.absolute() / "logs"
            shutil.copytree(story.home / "logs", kept, dirs_exist_ok=True)
            console.print(
                f"[red bold]The demo failed:[/] {error}\nThe marketplace's logs are in {kept}.", highlight=False
            )
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
