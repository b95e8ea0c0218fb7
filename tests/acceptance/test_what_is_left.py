"""No secret in all that a marketplace leaves behind: it was given marked ones, and is searched for them.

The marketplace is the one that the other files here have used before: whatever they did is searched as well.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from canary import Canary, database_urls, secrets_of
from kernels import ROOT

from mp_kit.server.store import embedded

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MARKED = {
    "Hugging Face token": "hf_MARKEDmarkedMARKEDmarkedMARKEDmarked",
    "Weights & Biases key": "feedfacefeedfacefeedfacefeedfacefeedface",
    "another vendor's key": "vk_markedmarked0000_MARKEDmarkedMARKEDmarkedMARKEDmarked",
    "somebody's GitHub token": "gho_MARKEDmarkedMARKEDmarkedMARKEDmarked",
}
OWNERS = ("secrets.json", "secrets.json.*", "deployments/*/*.env")
"""Files of a home that hold secrets by their nature, each for its owner alone."""


@pytest.fixture(scope="module")
def vendor(marketplace: Any) -> Iterator[httpx.Client]:
    """The vendor, over HTTP."""
    bearing = {"Authorization": f"Bearer {marketplace.vendor_key}"}
    with httpx.Client(base_url=marketplace.url, headers=bearing, timeout=60) as client:
        yield client


def said(response: httpx.Response) -> Any:
    assert response.is_success, response.text
    return response.json()["data"]


@pytest.fixture(scope="module")
def secrets(marketplace: Any, vendor: httpx.Client) -> dict[str, str]:
    """All secrets by name, after each has gone the way that it goes: stored, used, refused, rotated."""
    known = {**MARKED, "vendor's key": marketplace.vendor_key, "RunPod key": marketplace.runpod_key}
    known |= secrets_of(marketplace.home)
    runpod = {"value": known["RunPod key"]}
    said(vendor.put("/api/vendors/connections/runpod", json=runpod))
    for name, kind in (("huggingface", "Hugging Face token"), ("wandb", "Weights & Biases key")):
        said(vendor.put(f"/api/vendors/connections/{name}", json={"value": known[kind]}))
    run = said(vendor.post("/api/training/runs", json=ORDER))
    hook = said(
        vendor.post("/api/vendors/webhooks", json={"url": "http://127.0.0.1:9999/hook", "events": ["run.finished"]})
    )
    placed = said(vendor.post("/api/deployments", json={"name": "canary", "provider": "byoc"}))
    token = said(vendor.post(f"/api/deployments/{placed['deployment_id']}/infra-token", json={}))["infra_token"]
    session = said(vendor.post("/api/vendors/login", json={"api_key": marketplace.vendor_key}))["token"]
    known |= {"webhook's secret": hook["secret"], "deployment token": token, "session": session}
    known["first deployment token"] = placed["infra_token"]
    known["further key"] = said(vendor.post("/api/vendors/keys", json={"name": "canary"}))["api_key"]
    _misuse(vendor, known)
    _await_end(vendor, run["run_id"])
    return known


ORDER = {
    "round_id": "current",
    "task": "signal",
    "provider": "local",
    "hyperparams": {"model_type": "logistic", "epochs": 1},
    "budget": {"max_hours": 0.1},
}


def _misuse(vendor: httpx.Client, known: dict[str, str]) -> None:
    """Each secret where it does not belong: in a header that is nearly right, and in a body that is refused."""
    with httpx.Client(base_url=vendor.base_url, timeout=60) as nobody:
        for value in known.values():
            nobody.get("/api/vendors/me", headers={"Authorization": f"Bearer {value}x"})
    bodies = [f'{{"{value}": '.encode() for value in known.values()]
    bodies += [json.dumps({"name": "m", "task": value, "version": "1"}).encode() for value in known.values()]
    for body in bodies:
        vendor.post("/api/vendors/models", content=body)


def _await_end(vendor: httpx.Client, run_id: str) -> None:
    deadline = time.monotonic() + 120
    while (found := said(vendor.get(f"/api/training/runs/{run_id}")))["status"] in {"queued", "running"}:
        assert time.monotonic() < deadline, "the run does not end"
        time.sleep(0.3)
    assert "succeeded" == found["status"], found


def test_no_secret_in_files(marketplace: Any, secrets: dict[str, str]):
    """Logs, artifacts, runs' folders, Prefect's home, executed notebooks; not the database's own files."""
    canary = Canary(secrets)
    assert [] == canary.in_files(marketplace.home, *OWNERS, "postgres/**/*", "postgres/*")
    log = marketplace.home.parent / f"{marketplace.home.name}.log"
    assert set() == canary.sees(log.read_bytes())
    assert [] == canary.in_files(marketplace.operator.folder)


def test_no_secret_in_databases(marketplace: Any, secrets: dict[str, str]):
    """Ours, and Prefect's: parameters, logs, artifacts, events, states."""
    canary = Canary(secrets)
    assert [] == [found for url in database_urls(marketplace.home) for found in canary.in_database(url)]


def test_no_secret_on_pages(marketplace: Any, secrets: dict[str, str]):
    """Nor in the API's own documents, nor in what its routes answer."""
    canary = Canary(secrets)
    with httpx.Client(base_url=marketplace.url, cookies={"mp_session": secrets["session"]}, timeout=60) as client:
        assert [] == canary.in_pages(client, "/marketplace/vendor", most=25)
        for path in ("/openapi.json", "/docs", "/api/catalog", "/api/leaderboard"):
            assert set() == canary.sees(client.get(path).content)


@pytest.mark.hardening
@pytest.mark.timeout(1800)
def test_no_secret_after_all_notebooks(marketplace: Any, vendor_notebook: Any, secrets: dict[str, str]):
    """Each of the vendor's notebooks; then what they show, the folders, the databases and the database's own files."""
    canary = Canary(secrets)
    for path in sorted((ROOT / "notebooks/vendor").glob("*.ipynb")):
        assert set() == canary.sees(vendor_notebook(path.stem).shown.encode()), path.stem
    assert [] == canary.in_files(marketplace.home, *OWNERS)
    assert [] == canary.in_files(marketplace.operator.folder)
    assert [] == [found for url in database_urls(marketplace.home) for found in canary.in_database(url)]


@pytest.mark.hardening
@pytest.mark.timeout(1200)
def test_no_secret_after_the_demo(tmp_path: Path):
    """The whole story of ``make demo``, with the keys that it makes for itself."""
    command = [
        sys.executable,
        str(ROOT / "scripts/demo.py"),
        "--folder",
        str(tmp_path),
        "--keep",
        str(tmp_path / "kept"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1_000, env=_alone(tmp_path))
    assert 0 == done.returncode, done.stdout[-3000:] + done.stderr[-3000:]
    config = json.loads((tmp_path / "vendor/config/mp/config.json").read_text())
    canary = Canary({**secrets_of(tmp_path / "home"), "vendor's key": str(config["api_key"])})
    assert set() == canary.sees((done.stdout + done.stderr).encode())
    assert [] == canary.in_files(tmp_path, "vendor/config/mp/*", *(f"home/{place}" for place in OWNERS))
    server = embedded.start(tmp_path / "home/postgres", die_with_parent=True)
    try:
        found = [one for name in ("marketplace", "prefect") for one in canary.in_database(server.url(name))]
    finally:
        embedded.stop(tmp_path / "home/postgres")
    assert [] == found


def _alone(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MP_", "PREFECT_", "INFRA_"))}
    return kept | {"XDG_STATE_HOME": str(folder / "state")}


def test_what_the_canary_sees(tmp_path: Path, postgres_url: str):
    """In a file, in JSON, in bytes, in a URL; so that finding nothing means something."""
    import psycopg

    canary = Canary({"pepper": "p/pper+0123456789=="})
    (tmp_path / "a.log").write_text("sent p/pper+0123456789== away")
    (tmp_path / "b.log").write_text("x?key=p%2Fpper%2B0123456789%3D%3D, vk_0123456789abcdef_0123456789abcdef")
    assert ["a.log: pepper", "b.log: pepper", "b.log: vk_01234…"] == canary.in_files(tmp_path)
    assert [] == canary.in_files(tmp_path, "*.log")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE t (a jsonb, b bytea, c text[])")
        connection.execute("""INSERT INTO t VALUES ('{"k": ["p/pper+0123456789=="]}')""")
        connection.execute(
            "CREATE TABLE u AS SELECT 'p/pper+0123456789=='::bytea AS b, ARRAY['whsec_abcdefghijklmnopqrstuvwx'] c"
        )
    assert {"public.t: pepper", "public.u: pepper", "public.u: whsec_ab…"} == set(canary.in_database(postgres_url))
