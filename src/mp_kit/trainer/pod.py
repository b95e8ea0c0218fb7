"""The end of a RunPod pod, asked for from inside: RunPod starts a container again whose main process ends.

1. ``DELETE /pods/{id}`` with the key that RunPod itself puts into the pod; if that is refused, the action ``stop``.
2. It never returns in a pod: whoever still runs after a yes was not ended yet, so it asks again, ever more rarely, and
   sleeps in between. An exit would train, and bill, a second time.
3. The key goes into one header and nowhere else.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from urllib.parse import quote

from mp_kit.errors import MarketplaceError, NetworkError
from mp_kit.trainer.bounded import bounded
from mp_kit.version import __version__

__all__ = ["HIDDEN", "RUNPOD_URL", "end_pod"]

HIDDEN = frozenset({"RUNPOD_API_KEY", "RUNPOD_POD_ID", "MP_RUNPOD_URL"})
"""Variables that the wrapped command does not get: with them it could end, or order, pods."""

RUNPOD_URL = "https://api.runpod.io/v2"

_TIMEOUT = 15.0
_LONGEST = 30.0
_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 600.0
_GOOD = range(200, 300)


def end_pod(environ: Mapping[str, str], pause: Callable[[float], None] = time.sleep) -> None:
    """Ends the pod that this process runs in, or keeps it quiet for ever; returns only outside of a pod.

    Args:
        environ: ``RUNPOD_POD_ID`` says that this is a pod, ``RUNPOD_API_KEY`` may end it, ``MP_RUNPOD_URL`` is where
            to ask.
        pause: How to wait; seconds in, nothing out.
    """
    pod, key = environ.get("RUNPOD_POD_ID", ""), environ.get("RUNPOD_API_KEY", "")
    base = (environ.get("MP_RUNPOD_URL") or RUNPOD_URL).rstrip("/")
    wait = _FIRST_PAUSE
    while pod:
        if key:
            _ask(f"{base}/pods/{quote(pod, safe='')}", key)
        pause(wait)
        wait = min(wait * 2, _LONGEST_PAUSE)


def _ask(url: str, key: str) -> None:
    for method, path, body in (("DELETE", "", None), ("POST", "/action", {"action": "stop"})):
        try:
            status = bounded(lambda m=method, p=path, b=body: _send(m, url + p, key, b), _LONGEST, method)  # type: ignore[misc]
        except MarketplaceError as error:
            _say(f"{method} of this pod: {error}")
            continue
        _say(f"{method} of this pod was answered with HTTP {status}")
        if status in _GOOD:
            return


def _send(method: str, url: str, key: str, body: Mapping[str, str] | None) -> int:
    import httpx  # late: the first process of a container stays small until its last minute

    # The API's front door turns away clients without a name of their own.
    headers = {"Authorization": f"Bearer {key}", "User-Agent": f"mp-kit-trainer/{__version__}"}
    try:
        return httpx.request(method, url, headers=headers, json=body, timeout=_TIMEOUT).status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NetworkError(f"No answer from RunPod ({type(error).__name__}).") from None


def _say(text: str) -> None:
    sys.stderr.write(f"mp-kit trainer: {text}\n")
    sys.stderr.flush()
