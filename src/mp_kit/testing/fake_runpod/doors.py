"""The proxy of pods' http ports: public, so that whoever knows a pod's id and port reaches its server.

RunPod serves it at ``https://{pod}-{port}.proxy.runpod.net``; here it is ``/proxy/{pod}/{port}`` beside the API. No key
is asked for, and an ``Authorization`` header goes on to the server. What takes 100 seconds is cut.
"""

from __future__ import annotations

import ssl

import httpx

from mp_kit.testing.fake_runpod.api import Call
from mp_kit.testing.fake_runpod.cloud import Cloud
from mp_kit.testing.fake_runpod.pods import Status
from mp_kit.testing.fake_runpod.replies import Reply

__all__ = ["HOP", "OURS", "PodProxy"]

HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer", "host", "content-length"}
"""Headers of one connection, not of a request."""

OURS = {*HOP, "content-type", "date", "server"}
"""Headers of an answer that the fake sets by itself."""

_SECONDS = 100.0
_CONNECT_SECONDS = 2.0


class PodProxy:
    """Hands requests to the servers in pods.

    Args:
        cloud: The state.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        timeout = httpx.Timeout(_SECONDS, connect=_CONNECT_SECONDS)
        plain = ssl.SSLContext(
            ssl.PROTOCOL_TLS_CLIENT
        )  # no server here speaks TLS: reading certificates would be waste
        self._http = httpx.Client(timeout=timeout, trust_env=False, verify=plain)

    def close(self) -> None:
        """Closes the connections to the servers."""
        self._http.close()

    def forward(self, call: Call, pod_id: str, port: str, path: str | None) -> Reply:
        """Any request to a pod's public address."""
        with self._cloud.lock:
            pod = self._cloud.pods.get(pod_id)
            runs = pod is not None and pod.status(self._cloud.clock.now()) is Status.RUNNING
            door = pod.local_port(int(port)) if pod is not None and runs else None
        if door is None:
            return Reply(404, b"", "text/plain")
        headers = {name: value for name, value in call.headers.items() if name not in HOP}
        url = f"http://127.0.0.1:{door}{path or '/'}{'?' + call.raw_query if call.raw_query else ''}"
        try:
            with self._http.stream(call.method, url, content=call.content, headers=headers) as answer:
                content = b"".join(answer.iter_raw())
        except httpx.ReadTimeout:
            return Reply(524, b"error code: 524", "text/plain")
        except httpx.TransportError:  # nothing listens there yet, or it has hung up
            return Reply(502, b"error code: 502", "text/plain")
        kept = {name: value for name, value in answer.headers.items() if name not in OURS}
        return Reply(answer.status_code, content, answer.headers.get("content-type", "text/plain"), kept)
