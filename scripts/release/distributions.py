"""The wheel and the sdist: their metadata as an index would check it, and nothing inside that is not meant."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.metadata import InvalidMetadata, Metadata
from trove_classifiers import classifiers

ROOT = Path(__file__).resolve().parents[2]
_ALLOWED_SDIST = {"src", "flows", "deployments", "notebooks", "docs", "README.md", "CHANGELOG.md", "pyproject.toml"}
_ALLOWED_SDIST |= {"LICENSE", "PKG-INFO", ".gitignore"}
_SHOWN = 5
_ODD_NAMES = re.compile(
    r"(^|/)(tests?|shared|__pycache__|\.git|\.venv|\.hypothesis|\.ipynb_checkpoints|secrets\.json|id_[a-z0-9]+)(/|$)"
    r"|(^|/)\.env$|\.(pyc|pem|key|p12|sqlite3?|db|parquet|log)$|(^|/)test_[^/]*\.py$|(^|/)conftest\.py$"
)
_SECRETS = {
    "a private key": rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{20}",
    "a key of the marketplace": rb"\b(?:vk|sit|ac|whsec)_[A-Za-z0-9]{12,}_[A-Za-z0-9_-]{24,}",
    "a key of AWS": rb"\bAKIA[0-9A-Z]{16}\b",
    "a key of RunPod": rb"\brpa_[A-Z0-9]{30,}",
    "a token of Hugging Face": rb"\bhf_[A-Za-z0-9]{30,}",
    "a token of GitHub": rb"\bgh[pousr]_[A-Za-z0-9]{30,}",
}


def build(folder: Path) -> tuple[Path, Path]:
    """Builds both without network; the wheel and the sdist.

    Raises:
        RuntimeError: The build failed, or the folder has older ones.
    """
    if list(folder.glob("mp_kit-*")):
        msg = f"{folder} holds older distributions: empty it first"
        raise RuntimeError(msg)
    argv = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError("\n".join((done.stderr or done.stdout).strip().splitlines()[-_SHOWN:]))
    return next(folder.glob("mp_kit-*.whl")), next(folder.glob("mp_kit-*.tar.gz"))


def metadata_problems(told: bytes, version: str) -> list[str]:
    """What an index would refuse in a METADATA file, and what a reader would miss."""
    try:
        found = Metadata.from_email(told, validate=True)
    except ExceptionGroup as group:
        return [f"metadata: {_sentence(error)}" for error in group.exceptions]
    problems = [f"unknown classifier {name!r}" for name in found.classifiers or [] if name not in classifiers]
    if str(found.version) != version:
        problems.append(f"the metadata says version {found.version}, the package {version}")
    if not found.license_expression or not found.license_files:
        problems.append("the licence is not named by License-Expression and License-File")
    if any(name.startswith("License ::") for name in found.classifiers or []):
        problems.append("a licence's classifier stands beside License-Expression, which indexes refuse")
    if not (found.description or "").strip() or found.description_content_type != "text/markdown":
        problems.append("the long description is missing, or not told to be text/markdown")
    if not found.summary or not found.requires_python:
        problems.append("Summary or Requires-Python is missing")
    return problems


def pythons(told: bytes) -> list[str]:
    """The minor versions of Python that the classifiers name, such as 3.11."""
    found = Metadata.from_email(told, validate=False).classifiers or []
    prefix = "Programming Language :: Python :: 3."
    return [f"3.{name.removeprefix(prefix)}" for name in found if name.startswith(prefix)]


def wheel_metadata(wheel: Path) -> bytes:
    """The METADATA of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA")))


def content_problems(archive: Path, root: Path = ROOT) -> list[str]:
    """Names and bytes inside a wheel or sdist that should not go out."""
    parts = list(_inside(archive))
    problems = [f"{archive.name}: {name}" for name in _misplaced(archive, [name for name, _ in parts])]
    for name, content in parts:
        found = [what for what, kind in _SECRETS.items() if re.search(kind, content)]
        problems += [f"{archive.name}: {name} holds {what}" for what in found]
        if str(root).encode() in content:
            problems.append(f"{archive.name}: {name} names the folder that it was built in")
    return problems


def _misplaced(archive: Path, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if _ODD_NAMES.search(name) and not name.endswith(".tmpl"):  # a vendor's project has tests of its own
            yield f"{name} does not belong there"
        elif archive.suffix == ".whl":
            top = name.partition("/")[0]
            if top != "mp_kit" and not top.endswith(".dist-info"):
                yield f"{name} lies beside the package"
        elif name.split("/")[1] not in _ALLOWED_SDIST:
            yield f"{name} is not meant for the sdist"


def _inside(archive: Path) -> Iterator[tuple[str, bytes]]:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as told:
            yield from ((name, told.read(name)) for name in told.namelist())
        return
    with tarfile.open(archive) as packed:
        for member in packed:
            file = packed.extractfile(member)
            if file is not None:
                yield member.name, file.read()


def _sentence(error: Exception) -> str:
    return f"{error.field}: {error}" if isinstance(error, InvalidMetadata) else str(error)
