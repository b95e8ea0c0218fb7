"""Asks a server, and judges the form of what it says: status, type, envelope. Nothing it does raises."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import BaseModel, ValidationError

from mp_kit.contracts.headers import DRY_RUN_HEADER

__all__ = ["Answer", "Caller"]

_SHOWN = 160


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        status: HTTP's; 0 where there was no answer.
        content_type: Without parameters.
        text: The body.
        seconds: How long it took.
        trouble: Why there was no answer.
    """

    status: int
    content_type: str
    text: str
    seconds: float
    trouble: str = ""

    @property
    def document(self) -> Any:
        """The body as JSON; None where it is none."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            return None

    @property
    def told(self) -> str:
        """The answer in a few words, for a report."""
        if self.trouble:
            return self.trouble
        body = " ".join(self.text.split())
        return f"{self.status} {body[:_SHOWN]}{'…' if len(body) > _SHOWN else ''}".strip()

    @property
    def is_refusal(self) -> bool:
        """The caller's fault, as HTTP says it."""
        return 400 <= self.status < 500  # noqa: PLR2004 - the class of HTTP

    def fault(self, contract: type[BaseModel]) -> str | None:
        """What is wrong with it as a good answer of this contract; None if nothing is."""
        if self.status != httpx.codes.OK:
            return f"answered {self.told}" if not self.trouble else self.trouble
        if self.content_type != "application/json":
            return f"answered with the content type {self.content_type or 'none'}"
        try:
            contract.model_validate(self.document)
        except ValidationError as error:
            found = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in found["loc"]) or "the body"
            return f"answered outside the contract: {where}: {found['msg']}"
        return None


class Caller:
    """Sends requests to one server, each marked as a dry run unless it is told otherwise.

    Args:
        url: Its root.
        transport: An httpx transport in place of the network.
        seconds: Longest wait for an answer.
        bearer: A token that the server's host asks for.
        dry_run: What it asks leaves no signal.
    """

    def __init__(
        self,
        url: str,
        *,
        transport: httpx.BaseTransport | None = None,
        seconds: float = 10.0,
        bearer: str | None = None,
        dry_run: bool = True,
    ) -> None:
        headers = {"User-Agent": "mp-validate"} | ({DRY_RUN_HEADER: "true"} if dry_run else {})
        headers |= {"Authorization": f"Bearer {bearer}"} if bearer else {}
        limits = httpx.Limits(max_connections=64)
        self._http = httpx.Client(
            base_url=url, transport=transport, timeout=seconds, headers=headers, limits=limits, follow_redirects=False
        )

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def get(self, path: str) -> Answer:
        """GET."""
        return self.send("GET", path)

    def infer(self, document: Any) -> Answer:
        """POST /infer of a JSON document."""
        return self.send("POST", "/infer", json.dumps(document, allow_nan=False).encode())

    def send(
        self, method: str, path: str, body: bytes | None = None, content_type: str | None = "application/json"
    ) -> Answer:
        """Any request; with a body, its type is told."""
        headers = {"Content-Type": content_type} if body is not None and content_type else {}
        start = time.perf_counter()
        try:
            answer = self._http.request(method, path, content=body, headers=headers)
            text = answer.content.decode(errors="replace")
        except httpx.HTTPError as error:
            seconds = time.perf_counter() - start
            what = "no answer in time" if isinstance(error, httpx.TimeoutException) else "no answer"
            return Answer(0, "", "", seconds, f"{what} ({type(error).__name__})")
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return Answer(answer.status_code, kind, text, time.perf_counter() - start)
