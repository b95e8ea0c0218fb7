"""The wheel by itself: built, installed where no source of ours is, with the core dependencies only."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import stat
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements" / "all.txt"
PACKAGE = ROOT / "src" / "mp_kit"
EXTRAS = {"argon2", "litestar", "papermill", "prefect", "psycopg", "sklearn", "sqlalchemy", "talib", "uvicorn"}
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout without network and without isolation; or ``MP_WHEEL``, the one to go out."""
    if given := os.environ.get("MP_WHEEL"):
        return Path(given)
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return next(folder.glob("mp_kit-*.whl"))


@pytest.fixture(scope="module")
def place(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean virtual environment that holds the wheel and what its core needs, in the locked versions."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    done = _install(folder, wheel, tmp_path_factory.mktemp("uv"))
    assert 0 == done.returncode, done.stderr
    return folder


@pytest.fixture(scope="module")
def run(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a program of the clean environment, far from the checkout and without any of our variables."""
    home = tmp_path_factory.mktemp("somebody")

    def start(program: str, *args: str) -> subprocess.CompletedProcess[str]:
        env = {"HOME": str(home), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
        command = [str(place / "bin" / program), *args]
        return subprocess.run(command, cwd=home, env=env, capture_output=True, text=True, check=False, timeout=60)

    return start


def _install(folder: Path, wheel: Path, temp: Path) -> subprocess.CompletedProcess[str]:
    """By the uv of the bootstrap, from its cache alone where that suffices; by pip where there is no uv."""
    tools = _tools()
    env = tools.uv_environment(tools.pip_settings())
    python = ["--python", str(folder / "bin" / "python")]
    uv = _uv(tools.cache_folder() / "bootstrap", temp)
    if uv is None:
        wanted = ["install", "-q", "-c", str(_unhashed(temp)), str(wheel)]
        return _quiet([sys.executable, "-m", "pip", *python, *wanted], None)
    wanted = [uv, "pip", "install", "-q", *python, "-c", str(LOCK), str(wheel)]
    done = _quiet([*wanted, "--offline"], env)
    return done if done.returncode == 0 else _quiet(wanted, env)


def _tools() -> Any:
    spec = importlib.util.spec_from_file_location("environment", ROOT / "scripts" / "environment.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.PYTHON = Path(sys.executable)
    return module


def _uv(kept: Path, temp: Path) -> str | None:
    for wheel in sorted(kept.glob("uv-*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            inside = next(name for name in archive.namelist() if name.endswith(".data/scripts/uv"))
            (temp / "uv").write_bytes(archive.read(inside))
        (temp / "uv").chmod(stat.S_IRWXU)
        return str(temp / "uv")
    return shutil.which("uv")


def _unhashed(temp: Path) -> Path:
    # pip would ask a hash of our own wheel, too, if one constraint had one.
    lines = [line.partition(" \\")[0] for line in LOCK.read_text(encoding="utf-8").splitlines() if line[:1].isalpha()]
    (temp / "constraints.txt").write_text("\n".join(lines), encoding="utf-8")
    return temp / "constraints.txt"


def _quiet(argv: list[str], env: Mapping[str, str] | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, env=env, cwd=ROOT, capture_output=True, text=True, check=False)


def test_wheel_is_whole(wheel: Path):
    """All code, and all that is read at run time: flows, deployments, reports, SQL, migrations, the type marker."""
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    ours = {path.relative_to(PACKAGE.parent) for path in PACKAGE.rglob("*") if path.is_file()}
    source = {str(path) for path in ours if "__pycache__" not in path.parts}
    assert set() == source - inside
    bundled = [*ROOT.glob("flows/*.py"), *ROOT.glob("notebooks/reports/*.ipynb"), ROOT / "deployments" / "prefect.yaml"]
    assert set() == {f"mp_kit/bundle/{path.relative_to(ROOT)}" for path in bundled} - inside
    assert {
        "mp_kit/py.typed",
        "mp_kit/server/store/migrations/versions/0001_the_house.sql",
        "mp_kit/server/store/sql/signals.sql",
        "mp_kit/bundle/flows/publish_round.py",
        "mp_kit/bundle/notebooks/reports/daily.ipynb",
        "mp_kit/bundle/deployments/prefect.yaml",
    } <= inside


def test_wheel_has_nothing_else(wheel: Path):
    """No test, no cache, no secret, no folder beside the package."""
    with zipfile.ZipFile(wheel) as archive:
        inside = archive.namelist()
        text = b"".join(archive.read(name) for name in inside if name.endswith(("METADATA", "entry_points.txt")))
    assert {"mp_kit"} == {name.split("/")[0] for name in inside} - {
        next(n.split("/")[0] for n in inside if "dist-info" in n)
    }
    assert [] == [
        name for name in inside if any(odd in name for odd in ("__pycache__", "test_", ".env", "secrets.json"))
    ]
    assert b"mp = mp_kit.cli.main:run" in text
    assert b"License-Expression: Apache-2.0" in text
    assert str(ROOT).encode() not in text


def test_environment_is_clean(run: Run, place: Path):
    """What is imported is the wheel's, and none of the extras is there."""
    code = (
        "import importlib.util, json, mp_kit, sys;"
        f"there = [name for name in {sorted(EXTRAS)!r} if importlib.util.find_spec(name)];"
        "print(json.dumps([mp_kit.__file__, there, sys.path]))"
    )
    told = run("python", "-c", code)
    file, extras, path = json.loads(told.stdout)
    assert file.startswith(str(place))
    assert [] == extras
    assert [] == [entry for entry in path if entry.startswith(str(ROOT))]


def test_version_and_help(run: Run):
    """On stdout, and nothing on stderr."""
    from mp_kit.version import __version__

    version, told = run("mp", "--version"), run("mp", "--help")
    assert (0, f"mp {__version__}\n", "") == (version.returncode, version.stdout, version.stderr)
    assert (0, "") == (told.returncode, told.stderr)
    assert "Usage: mp" in told.stdout


def test_import_and_each_public_name(run: Run):
    """A vendor's notebook starts here."""
    done = run("python", "-W", "error", "-c", "import mp_kit; print(sum(hasattr(mp_kit, n) for n in mp_kit.__all__))")
    import mp_kit

    assert (0, f"{len(mp_kit.__all__)}\n", "") == (done.returncode, done.stdout, done.stderr)


def test_up_names_the_extra_that_it_needs(run: Run):
    """The line to copy, exit 1, and no traceback; nothing was begun."""
    done = run("mp", "up")
    assert (1, "") == (done.returncode, done.stdout)
    assert [
        "error: `mp up` (it misses prefect) needs packages that are not installed.",
        "hint: pip install 'mp-kit[flows]'",
    ] == (done.stderr.splitlines())


@pytest.mark.parametrize(
    "args", [["up"], ["admin", "vendor", "list"], ["admin", "migrate"], ["admin", "token", "revoke", "x"]], ids=" ".join
)
def test_operators_commands_tell_it_as_json_too(args: list[str], run: Run):
    """The last line of stderr, with the stable code."""
    done = run("mp", *args, "--json")
    told = json.loads(done.stderr.splitlines()[-1])["error"]
    extra = "flows" if args == ["up"] else "server"
    assert (1, "missing_extra", f"pip install 'mp-kit[{extra}]'") == (done.returncode, told["code"], told["hint"])
    assert "Traceback" not in done.stderr


def test_vendor_needs_nothing_of_the_server(run: Run, place: Path):
    """With ``mp_kit/server`` taken away, every other module is still imported and every command still has its help."""
    package = next(place.glob("lib/python*/site-packages/mp_kit"))
    (package / "server").rename(package.parent / "taken_away")
    try:
        done = run("python", "-c", IMPORT_ALL)
        helps = [run("mp", *name, "--help").returncode for name in ([], ["data", "pull"], ["train", "start"], ["up"])]
        refused = run("mp", "data", "list", "--json")
    finally:
        (package.parent / "taken_away").rename(package / "server")
    assert (0, "") == (done.returncode, done.stderr)
    modules = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")}
    # Those behind the first two are for extra torch, and for %load_ext, which only IPython itself calls.
    elsewhere = ("server", "bundle", "trainer/networks.py", "cli/completion.py", "cli/magics.py", "cli/orders.py")
    vendors = [name for name in modules if not name.startswith(elsewhere) and "__main__" not in name]
    assert len(vendors) == int(done.stdout)
    assert [0, 0, 0, 0] == helps
    assert (1, "setup") == (refused.returncode, json.loads(refused.stderr.splitlines()[-1])["error"]["code"])


IMPORT_ALL = """
import importlib, pkgutil, mp_kit
names = [one.name for one in pkgutil.walk_packages(mp_kit.__path__, "mp_kit.") if not one.name.endswith("__main__")]
magic = ("mp_kit.cli.completion", "mp_kit.cli.magics", "mp_kit.cli.orders")
elsewhere = ("mp_kit.bundle", "mp_kit.trainer.networks", *magic)
print(1 + len([importlib.import_module(name) for name in names if not name.startswith(elsewhere)]))
"""
