"""``python train.py [-- command ...]``: the entry of the trainer's image, for those who know it by this name."""

# ruff: noqa: INP001 - a script beside the Dockerfile, no package

from __future__ import annotations

import sys

from mp_kit.trainer.__main__ import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
