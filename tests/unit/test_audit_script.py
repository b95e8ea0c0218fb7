"""``make audit``: locks without hashes are refused, advisories are told, and nothing is claimed that nobody checked."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
HASH = f"--hash=sha256:{'0' * 64}"
GOOD = f"one==1.0 \\\n    {HASH} \\\n    {HASH}\n# why\ntwo[extra]==2.0 \\\n    {HASH}\n"


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("audit_script", ROOT / "scripts/audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["audit_script"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("lock", "faults"),
    [
        (GOOD, []),
        ("", ["x.txt is empty"]),
        (GOOD + "three==3.0\n", ["x.txt: no hash: three==3.0"]),
        (GOOD + f"three>=3.0 {HASH}\n", [f"x.txt: not pinned to a version: {f'three>=3.0 {HASH}'[:60]}"]),
        (GOOD + "git+https://example.com/x\n", ["x.txt: not pinned to a version: git+https://example.com/x"]),
        (GOOD + "three==3.0 --hash=md5:00\n", ["x.txt: no hash: three==3.0 --hash=md5:00"]),
    ],
)
def test_a_lock(audit: ModuleType, lock: str, faults: list[str]):
    """Every line is a version with a SHA-256."""
    assert faults == audit.faults_of(lock, "x.txt")


def test_our_locks(audit: ModuleType):
    """They are pinned and hashed, all of them."""
    assert {"all.txt", "bootstrap.txt"} <= {lock.name for lock in audit.LOCKS}
    assert [] == [fault for lock in audit.LOCKS for fault in audit.faults_of(lock.read_text(), lock.name)]


ADVISORY = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["1.1"]}
ANSWERS: dict[str, tuple[Any, int, str]] = {
    "nothing known": ([{"name": "one", "version": "1.0", "vulns": []}], 0, "1 pins were asked about; 0 advisories"),
    "an advisory": ([{"name": "one", "version": "1.0", "vulns": [ADVISORY]}], 1, "one 1.0: PYSEC-1, mended in 1.1"),
    "nobody knows it": ([{"name": "one", "skip_reason": "not found"}], 0, "no pin was checked"),
    "nobody answers": ("no answer within 300 s", 0, "can't be had here (no answer within 300 s)"),
}


@pytest.mark.parametrize(("answer", "code", "said"), ANSWERS.values(), ids=ANSWERS)
def test_what_is_told(
    audit: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    answer: Any,
    code: int,
    said: str,
):
    """An advisory fails; that nobody could be asked is said, and is not "none found"."""
    monkeypatch.setattr(audit, "consult", lambda _: answer)
    (tmp_path / "lock.txt").write_text(f"one==1.0 {HASH}\n")
    assert code == audit.ask(tmp_path / "lock.txt")
    told = capsys.readouterr()
    assert said in told.out + told.err


def test_an_advisory_that_was_looked_at(audit: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """It stands with its reason, under any of its names, and fails no more."""
    (tmp_path / "accepted.txt").write_text("# looked at\nCVE-1  # we never call it\n")
    monkeypatch.setattr(audit, "ACCEPTED", tmp_path / "accepted.txt")
    assert 0 == audit.told([{"name": "one", "version": "1.0", "vulns": [ADVISORY]}])
    assert 1 == audit.told([{"name": "one", "version": "1.0", "vulns": [ADVISORY | {"id": "X", "aliases": []}]}])
