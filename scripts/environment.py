"""Makes ``.venv`` from the hashed locks (``make venv``), and the locks (``make lock``). Standard library only.

1. Everything installed is named with its hash in ``requirements/``. No file of ours names an index: which one is used
   is the user's own pip configuration, handed on to uv.
2. uv does the work, because it takes a second where pip takes minutes; pip does it where uv cannot.
3. Once fetched, nothing is fetched again: a second call does nothing, a new checkout builds from the caches offline.
4. The hashes are those of the Python that the locks were written on, 3.11. ``MP_LOCK_HASHES=no`` takes the locked
   versions without them, to test on another Python; it says so, and nothing that goes out is built that way.
"""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCK = ROOT / "requirements" / "all.txt"
BOOTSTRAP = ROOT / "requirements" / "bootstrap.txt"
STAMP = VENV / ".mp-kit-stamp"
WANTED = (3, 11)


def main() -> int:
    """Runs the command named on the command line."""
    command = sys.argv[1] if len(sys.argv) > 1 else "venv"
    if command == "lock":
        lock()
    elif command == "venv":
        make()
    else:
        return fail(f"unknown command {command!r}: use venv or lock")
    return 0


def make() -> None:
    """Makes ``.venv``, unless it is as the locks say."""
    if STAMP.exists() and STAMP.read_text(encoding="utf-8") == fingerprint():
        return
    if sys.version_info < WANTED:
        sys.exit(fail(f"Python {'.'.join(map(str, WANTED))} or later is needed; set PYTHON=… (this is {sys.version})"))
    create()
    env = uv_environment(pip_settings())
    uv = find_uv(env)
    if uv is None or not sync(uv, env):
        say("uv cannot install; pip does it, which takes minutes")
        run([str(PYTHON), "-m", "pip", "install", "-q", "--only-binary", ":all:", *from_lock("-r")])
    say("installing mp-kit itself, editable")
    run([str(PYTHON), "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-build-isolation", "-e", str(ROOT)])
    STAMP.write_text(fingerprint(), encoding="utf-8")


def lock() -> None:
    """Writes the locks from ``pyproject.toml``; what they have already stays unless it no longer fits."""
    create()
    env = uv_environment(pip_settings())
    uv = find_uv(env) or shutil.which("uv")
    if uv is None:
        sys.exit(fail("no uv: install one, or mend requirements/bootstrap.txt"))
    options = ["--python-version", "3.11", "--universal", "--generate-hashes", "--no-emit-index-url", "--no-header"]
    options += ["--no-annotate", "--quiet"]
    groups = ["--extra", "all", "--group", "dev"]  # torch is in neither: it would be most of the environment
    run([uv, "pip", "compile", "pyproject.toml", *groups, *options, "-o", str(LOCK)], env)
    source = ROOT / "requirements" / "bootstrap.in"
    run([uv, "pip", "compile", str(source), *options, "-o", str(BOOTSTRAP)], env)
    workers = ["requirements/workers.in", "-c", str(LOCK), "-o", "requirements/workers.txt"]
    run([uv, "pip", "compile", *workers, *options], env)


def fingerprint() -> str:
    """What the environment was made of: the locks, the project's metadata, the place and the interpreter."""
    digest = hashlib.sha256(f"{ROOT} {sys.version}".encode())
    for path in (LOCK, BOOTSTRAP, ROOT / "pyproject.toml", Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def create() -> None:
    """Makes the bare virtual environment, over again where it does not run."""
    if (
        PYTHON.exists()
        and subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0
    ):
        return
    say(f"making {VENV}")
    try:
        venv.create(VENV, with_pip=True, clear=True, symlinks=True)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(fail(f"venv does not work here ({error}); on Debian: apt-get install python3-venv"))


def find_uv(env: dict[str, str]) -> str | None:
    """The uv that the lock names, else one on PATH, else None. Its wheel is kept in the user's cache."""
    kept = cache_folder() / "bootstrap"
    install = [str(PYTHON), "-m", "pip", "install", "-q", "--require-hashes", "-r", str(BOOTSTRAP)]
    if try_run([*install, "--no-index", "--find-links", str(kept)], env):
        return str(VENV / "bin" / "uv")
    download = [str(PYTHON), "-m", "pip", "download", "-q", "--require-hashes", "--no-deps", "-r", str(BOOTSTRAP)]
    if try_run([*download, "-d", str(kept)], None) and try_run(
        [*install, "--no-index", "--find-links", str(kept)], env
    ):
        return str(VENV / "bin" / "uv")
    return shutil.which("uv")


def sync(uv: str, env: dict[str, str]) -> bool:
    """Installs exactly the lock: from uv's cache when all is there, else from the indexes."""
    argv = [uv, "pip", "sync", "--quiet", "--python", str(PYTHON), *from_lock()]
    if try_run([*argv, "--offline"], env):
        return True
    say("fetching packages")
    return try_run(argv, env, show=True)


def from_lock(*before: str) -> list[str]:
    """The lock for an installer, with its hashes unless the user said ``MP_LOCK_HASHES=no``."""
    if os.environ.get("MP_LOCK_HASHES", "yes") != "no":
        return ["--require-hashes", *before, str(LOCK)]
    say("MP_LOCK_HASHES=no: the locked versions are installed, and their hashes are not checked")
    bare = VENV / "unhashed.txt"
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    kept = [line.removesuffix("\\").rstrip() for line in lines if not line.startswith("    --hash=")]
    bare.write_text("\n".join(kept) + "\n", encoding="utf-8")
    return [*before, str(bare)]


def pip_settings() -> dict[str, str]:
    """The user's pip settings, from files and environment: name without its section to value."""
    asked = subprocess.run([str(PYTHON), "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    found: dict[str, str] = {}
    for line in asked.stdout.splitlines():
        name, equals, value = line.partition("=")
        if equals and name.startswith((":env:.", "global.", "install.")):
            found[name.rpartition(".")[2]] = str(ast.literal_eval(value))
    return found


def uv_environment(pip: dict[str, str]) -> dict[str, str]:
    """The environment for uv, from pip's settings; what the user set for uv itself stays."""
    told = {
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_PROGRESS": "1",
        "UV_SYSTEM_CERTS": "1",
        # As pip does: the best version of all indexes, not the first index that knows the name.
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_DEFAULT_INDEX": pip.get("index-url", ""),
        "UV_INDEX": " ".join(pip.get("extra-index-url", "").split()),
        "UV_FIND_LINKS": ",".join(pip.get("find-links", "").split()),
        "UV_INSECURE_HOST": " ".join(pip.get("trusted-host", "").split()),
        "UV_NO_INDEX": "1" if pip.get("no-index", "").lower() in {"1", "true", "yes", "on"} else "",
        "UV_HTTP_TIMEOUT": pip.get("default-timeout", pip.get("timeout", "")),
        "SSL_CERT_FILE": pip.get("cert", ""),
        "UV_CACHE_DIR": str(cache_folder() / "uv") if not writable_home() else "",
    }
    return {**{name: value for name, value in told.items() if value}, **os.environ}


def cache_folder() -> Path:
    """Where fetched things stay: the user's cache, or the checkout where there is none to write to."""
    named = os.environ.get("XDG_CACHE_HOME")
    base = Path(named) if named else Path.home() / ".cache" if writable_home() else ROOT / ".cache"
    return base / "mp-kit"


def writable_home() -> bool:
    """Whether the user's home can hold a cache."""
    return os.access(Path.home(), os.W_OK)


def run(argv: list[str], env: dict[str, str] | None = None) -> None:
    """Runs a command in the checkout; ends with its status when it fails."""
    code = subprocess.run(argv, cwd=ROOT, env=env, check=False).returncode
    if code != 0:
        sys.exit(code)


def try_run(argv: list[str], env: dict[str, str] | None, *, show: bool = False) -> bool:
    """Runs a command in the checkout and tells whether it succeeded."""
    told = None if show else subprocess.DEVNULL
    return subprocess.run(argv, cwd=ROOT, env=env, check=False, stdout=told, stderr=told).returncode == 0


def say(text: str) -> None:
    """Tells progress, on stderr."""
    print(f"venv: {text}", file=sys.stderr, flush=True)


def fail(text: str) -> int:
    """Tells an error; the exit status."""
    print(f"error: {text}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
