"""``python -m mp_kit.serving``: the server of a hosted deployment."""

from __future__ import annotations

from mp_kit.serving.hosted import load
from mp_kit.serving.run import serve

if __name__ == "__main__":
    serve(load)
