"""The wheel and the sdist, and what would be found in bad ones."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from release import distributions, locks

from mp_kit.version import __version__

ROOT = Path(__file__).parents[3]
METADATA = """\
Metadata-Version: 2.4
Name: mp-kit
Version: 0.1.0
Summary: A marketplace.
License-Expression: Apache-2.0
License-File: LICENSE
Classifier: Typing :: Typed
Requires-Python: >=3.11
Description-Content-Type: text/markdown

Words.
"""
BAD_METADATA = {
    "Version: 0.1.0": ("Version: 0.1.1", "the metadata says version 0.1.1, the package 0.1.0"),
    "Version: 0.1.0\n": ("Version: one\n", "version"),
    "Apache-2.0": ("Apache Two", "license-expression"),
    "License-File: LICENSE\n": ("", "the licence is not named"),
    "Typing :: Typed": ("Typing :: Sometimes", "unknown classifier 'Typing :: Sometimes'"),
    "Classifier: Typing :: Typed": (
        "Classifier: License :: OSI Approved :: Apache Software License",
        "which indexes refuse",
    ),
    "\nWords.\n": ("", "the long description is missing"),
    "text/markdown": ("text/x-rst", "not told to be text/markdown"),
    "Requires-Python: >=3.11\n": ("", "Summary or Requires-Python is missing"),
    "Requires-Python: >=3.11": ("Requires-Python: three", "requires-python"),
}
KEY = "vk_" + "a" * 16 + "_" + "B" * 43
BAD_FILES = {
    "mp_kit/tests/test_x.py": (b"", "does not belong there"),
    "mp_kit/server/.env": (b"", "does not belong there"),
    "mp_kit/secrets.json": (b"", "does not belong there"),
    "mp_kit/shared/facts.md": (b"", "does not belong there"),
    "mp_kit/x.pyc": (b"", "does not belong there"),
    "mp_kit/server.key": (b"", "does not belong there"),
    "scripts/demo.py": (b"", "lies beside the package"),
    "mp_kit/a.py": (KEY.encode(), "holds a key of the marketplace"),
    "mp_kit/b.py": (b"-----BEGIN " + b"PRIVATE KEY-----\n" + b"A" * 30, "holds a private key"),
    "mp_kit/c.py": (b"x = 'AKIA" + b"A" * 16 + b"'", "holds a key of AWS"),
    "mp_kit/d.py": (b"open('/made/here/x')", "names the folder that it was built in"),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Ours."""
    return distributions.build(tmp_path_factory.mktemp("dist"))


def test_ours_are_clean(built: tuple[Path, Path]):
    """Nothing odd inside, metadata that an index takes."""
    assert [] == [problem for path in built for problem in distributions.content_problems(path)]
    assert [] == distributions.metadata_problems(distributions.wheel_metadata(built[0]), __version__)


@pytest.mark.hardening
def test_sdist_builds_the_wheel(built: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whoever installs from it gets the same files."""
    with tarfile.open(built[1]) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.setattr(distributions, "ROOT", next(tmp_path.iterdir()))
    again, _ = distributions.build(tmp_path / "dist")
    with zipfile.ZipFile(built[0]) as one, zipfile.ZipFile(again) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())


def test_failed_build_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """By what the builder says last."""
    (tmp_path / "pyproject.toml").write_text("[build-system\n", encoding="utf-8")
    monkeypatch.setattr(distributions, "ROOT", tmp_path)
    with pytest.raises(RuntimeError, match="at the end of a table declaration"):
        distributions.build(tmp_path / "dist")


def test_older_distributions_are_in_the_way(tmp_path: Path):
    """What is looked into is what was built."""
    (tmp_path / "mp_kit-0-py3-none-any.whl").touch()
    with pytest.raises(RuntimeError, match="holds older distributions: empty it first"):
        distributions.build(tmp_path)


def test_metadata_in_order_has_no_problem():
    """What the table below breaks is whole."""
    assert [] == distributions.metadata_problems(METADATA.encode(), "0.1.0")


@pytest.mark.parametrize(("part", "other", "said"), [(k, *v) for k, v in BAD_METADATA.items()], ids=BAD_METADATA)
def test_bad_metadata_is_told(part: str, other: str, said: str):
    """Each by its field."""
    found = distributions.metadata_problems(METADATA.replace(part, other).encode(), "0.1.0")
    assert any(said in problem for problem in found), found


@pytest.mark.parametrize(("name", "content", "said"), [(k, *v) for k, v in BAD_FILES.items()], ids=BAD_FILES)
def test_bad_content_is_told(name: str, content: bytes, said: str, tmp_path: Path):
    """In a wheel and in an sdist, by the file."""
    wheel, sdist = tmp_path / "x.whl", tmp_path / "x.tar.gz"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(name, content)
        archive.writestr("mp_kit/templates/tests/app_test.py.tmpl", b"")
        archive.writestr("mp_kit-0.1.0.dist-info/METADATA", b"")
    with tarfile.open(sdist, "w:gz") as packed:
        info = tarfile.TarInfo(f"mp_kit-0.1.0/src/{name}")
        info.size = len(content)
        packed.addfile(info, io.BytesIO(content))
    (found,) = distributions.content_problems(wheel, Path("/made/here"))
    assert name in found
    assert said in found
    if "beside" not in said:
        assert said in distributions.content_problems(sdist, Path("/made/here"))[0]


def test_sdist_takes_only_what_is_meant(tmp_path: Path):
    """A folder that nobody named is found."""
    sdist = tmp_path / "x.tar.gz"
    with tarfile.open(sdist, "w:gz") as packed:
        packed.addfile(tarfile.TarInfo("mp_kit-0.1.0/bench/run.py"), io.BytesIO())
    assert ["x.tar.gz: mp_kit-0.1.0/bench/run.py is not meant for the sdist"] == distributions.content_problems(sdist)


PYPROJECT = """
[project]
name = "mp-kit"
dependencies = ["packaging>=20"]
[project.optional-dependencies]
all = ["mp-kit[one]"]
one = ["mp-kit[one,two]"]
two = ["pluggy>=1"]
[dependency-groups]
dev = []
"""
LOCK = "packaging==26.0 \\\n    --hash=sha256:00\npluggy==1.6.0 \\\n    --hash=sha256:00\n"
STALE = {
    "not locked": (LOCK.partition("pluggy")[0], "pluggy>=1 (pyproject.toml) is not locked"),
    "too old": (LOCK.replace("26.0", "19.0"), "packaging>=20 (pyproject.toml) is not met by the locked 19.0"),
    "left over": (LOCK + "iniconfig==2.0 \\\n    --hash=sha256:00\n", "iniconfig is locked, and nothing asks for it"),
    "without a hash": (LOCK.replace("    --hash=sha256:00\n", "", 1), "packaging has no hash"),
    "for what is installed": (LOCK + "pytest==9.0 \\\n    --hash=sha256:00\n", "pytest is locked, and nothing"),
}


def test_fresh_lock_has_no_problem():
    """Extras that name each other end; a pin for another platform is left alone."""
    elsewhere = "colorama==0.4.6 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n"
    assert [] == locks.problems(PYPROJECT, LOCK + elsewhere)


@pytest.mark.parametrize(("lock", "said"), STALE.values(), ids=STALE)
def test_stale_lock_is_told(lock: str, said: str):
    """By the requirement and who has it."""
    found = locks.problems(PYPROJECT, lock)
    assert any(said in problem for problem in found), found


def test_needs_of_what_is_installed_are_locked():
    """Pytest asks for pluggy and others; the first that a lock lacks is told with pytest's name."""
    found = locks.problems(PYPROJECT.replace("packaging>=20", "pytest>=8"), "pytest==9.0 \\\n    --hash=sha256:00\n")
    assert any("(pytest) is not locked" in problem for problem in found)


def test_our_lock_is_fresh():
    """It fails: ``make lock``."""
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in ("pyproject.toml", "requirements/all.txt")]
    assert [] == locks.problems(*texts)
