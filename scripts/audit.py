"""``make audit``: is anything that we install known to be vulnerable, and is everything pinned by its hash?

1. Every pin of every lock has its hashes: what is installed is byte for byte what was reviewed. This needs no network.
2. pip-audit asks its database about each pin. Where that can't be reached it says so, and the first check stands alone:
   the review note in ``docs/security.md`` says what is done then.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCKS = sorted(path for path in (ROOT / "requirements").glob("*.txt") if path.name != "accepted-advisories.txt")
ACCEPTED = ROOT / "requirements" / "accepted-advisories.txt"
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(\[[^\]]*\])?==[^\s\\;]+")
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")
_PATIENCE = 300


def main() -> int:
    """Checks the locks, then asks."""
    faults = [fault for lock in LOCKS for fault in faults_of(lock.read_text(encoding="utf-8"), lock.name)]
    for fault in faults:
        sys.stderr.write(f"audit: {fault}\n")
    if faults:
        return 1
    sys.stdout.write(f"audit: every pin of {', '.join(lock.name for lock in LOCKS)} has its hashes\n")
    return ask(ROOT / "requirements" / "all.txt")


def faults_of(lock: str, name: str) -> list[str]:
    """What is not pinned by version and hash.

    Args:
        lock: A requirements file's text.
        name: Of the file, for the sentences.
    """
    joined = re.sub(r"\\\n\s*", " ", lock)
    lines = [line.strip() for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        return [f"{name} is empty"]
    unpinned = [f"{name}: not pinned to a version: {line[:60]}" for line in lines if not _PIN.match(line)]
    return unpinned + [f"{name}: no hash: {line[:60]}" for line in lines if _PIN.match(line) and not _HASH.search(line)]


def ask(lock: Path) -> int:
    """Asks pip-audit about a lock, about one pin first: where that has no answer, nobody is asked three hundred times.

    Args:
        lock: A requirements file that is pinned and hashed.

    Returns:
        1 where an advisory stands that is not accepted, else 0: also where nobody can be asked.
    """
    pins = [line.split()[0] for line in lock.read_text(encoding="utf-8").splitlines() if _PIN.match(line)]
    for some in (pins[:1], pins):
        answer = consult(some)
        if isinstance(answer, str):
            return unreachable(answer)
        unknown = [one["name"] for one in answer if "skip_reason" in one]
        if len(unknown) == len(some):
            return unreachable(f"it knows nothing of {unknown[0]}")
    if unknown:
        sys.stderr.write(f"audit: {len(unknown)} pins could not be asked about: {', '.join(unknown)}\n")
    return told(answer)


def consult(pins: Sequence[str]) -> list[dict[str, Any]] | str:
    """What pip-audit says of each pin; a sentence where it says nothing."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as asked:
        asked.write("\n".join(pins))
        asked.flush()
        command = [sys.executable, "-m", "pip_audit", "--requirement", asked.name, "--no-deps", "--disable-pip"]
        command += ["--progress-spinner", "off", "--format", "json"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE)
            return list(json.loads(done.stdout)["dependencies"])
        except subprocess.TimeoutExpired:
            return f"no answer within {_PATIENCE} s"
        except (ValueError, KeyError):
            return f"pip-audit ended with {done.returncode}: {done.stderr.strip()[-200:]}"


def told(answer: Sequence[dict[str, Any]]) -> int:
    """Says which advisories stand; 1 where there is one that nobody accepted."""
    ignored = accepted(ACCEPTED.read_text(encoding="utf-8")) if ACCEPTED.exists() else {}
    open_ones = 0
    for one in answer:
        for found in one.get("vulns", []):
            why = next((ignored[known] for known in (found["id"], *found.get("aliases", [])) if known in ignored), None)
            open_ones += why is None
            mended = ", ".join(found.get("fix_versions", [])) or "no release yet"
            sys.stdout.write(f"audit: {one['name']} {one['version']}: {found['id']}, mended in {mended}")
            sys.stdout.write(f"; accepted: {why}\n" if why else "\n")
    asked = sum("skip_reason" not in one for one in answer)
    sys.stdout.write(f"audit: {asked} pins were asked about; {open_ones} advisories stand\n")
    return 1 if open_ones else 0


def accepted(text: str) -> dict[str, str]:
    """Advisories that were looked at and do not reach us, with the reason: ``ID  # why``, one a line."""
    lines = [line.partition("#") for line in text.splitlines() if line.partition("#")[0].strip()]
    return {name.strip(): why.strip() for name, _, why in lines}


def unreachable(why: str) -> int:
    """Says that nobody could be asked; the hashes stand."""
    sys.stderr.write(
        f"audit: the advisories can't be had here ({why}), so no pin was checked against them.\n"
        "audit: the hashes hold; docs/security.md, 'Dependencies', says what a reviewer does then.\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
