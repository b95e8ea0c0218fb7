"""Installs the Debian packages that some tests want (``make test``): a real S3 server, a browser.

Standard library only.

1. What is there already is not installed again, and then nothing is asked of anybody.
2. Where this is not root on Debian, or apt cannot, it says so and ends well: those tests then skip with their reason.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

PACKAGES = {
    "radosgw": "radosgw",
    "radosgw-admin": "radosgw",
    "ceph-mon": "ceph-mon",
    "monmaptool": "ceph-mon",
    "ceph-osd": "ceph-osd",
    "ceph": "ceph-common",
    "ceph-authtool": "ceph-common",
    "chromium": "chromium",
}
"""Programs and the packages that bring them."""

_SECONDS = 600


def main() -> int:
    """Installs what is missing; always 0."""
    missing = sorted({package for program, package in PACKAGES.items() if shutil.which(program) is None})
    if not missing:
        return 0
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        say(f"tests of S3 or of pages will skip: install {' '.join(missing)} (needs root on Debian)")
        return 0
    say(f"installing {' '.join(missing)}")
    if not (installed(apt, missing) or (ran(apt, "update") and installed(apt, missing))):
        say("tests of S3 or of pages will skip: apt could not install them")
    return 0


def installed(apt: str, packages: list[str]) -> bool:
    """Installs packages."""
    return ran(apt, "install", "--yes", "--no-install-recommends", *packages)


def ran(apt: str, *arguments: str) -> bool:
    """Runs apt without questions."""
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run([apt, "-q", *arguments], env=env, capture_output=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def say(text: str) -> None:
    """One line on stderr."""
    print(f"test: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
