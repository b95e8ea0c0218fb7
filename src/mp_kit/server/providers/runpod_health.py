"""Whether the server in a RunPod pod is well: it answers, or it will, or only another pod helps.

1. RunPod starts a container again whenever its main process ends, calls the pod RUNNING all the while, and bills on.
   Two things tell: ``runtime.uptime`` that falls, and the host's log, which has a line for each start.
2. RUNNING says nothing of the server: it is asked itself, at its public address, so that a pod is well only if the
   whole way to it is.
3. What is remembered (starts, the last answer) only makes a verdict earlier or later; a keeper that has forgotten it
   counts anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import httpx

from mp_kit.errors import MarketplaceError
from mp_kit.server.providers.base import Observed, Phase
from mp_kit.server.providers.hosting import Hosted, HostPhase, HostView
from mp_kit.server.providers.patience import within
from mp_kit.server.providers.runpod_api import USER_AGENT, Account, RunPodApi
from mp_kit.server.providers.runpod_watch import last_words
from mp_kit.server.providers.runpod_wire import Pod, instant

__all__ = ["Health"]

LOOP = timedelta(minutes=10)
"""How far back starts count."""

LOOP_STARTS = 4
"""So many starts within it are a crash loop."""

MOST_SILENT = timedelta(minutes=10)
"""A running container whose server does not answer for so long is given up."""

MOST_STARTING = timedelta(minutes=20)
"""A pod that does not run by then is given up: large images take minutes."""

_STALE = timedelta(minutes=1)  # so old an uptime may be that RunPod tells
_LOG_EVERY = timedelta(minutes=1)
_LOG_LINES = 100
_START_LINE = "start container"
_DOOR_SECONDS = 5.0
_OK = 200


@dataclass
class _Chart:
    """What is remembered of one pod."""

    starts: list[datetime] = field(default_factory=list)
    started_at: datetime | None = None
    uptime: float | None = None
    answered_at: datetime | None = None
    silent_since: datetime | None = None
    read_log_at: datetime | None = None


class Health:
    """Judges pods.

    Args:
        api: For logs.
        clock: The time.
        log_seconds: Longest time to read a log.
        door: An httpx transport in place of the network to the servers.
    """

    def __init__(
        self, api: RunPodApi, clock: Callable[[], datetime], log_seconds: float, door: httpx.BaseTransport | None
    ) -> None:
        self._api, self._clock, self._log_seconds = api, clock, log_seconds
        self._charts: dict[str, _Chart] = {}
        headers = {"User-Agent": USER_AGENT, "Connection": "close"}  # the deadline needs to see each connection come
        self._door = httpx.Client(transport=door, timeout=_DOOR_SECONDS, headers=headers, follow_redirects=False)

    def close(self) -> None:
        """Closes the connections."""
        self._door.close()

    def forget(self, ref: str) -> None:
        """Forgets a pod that has ended."""
        self._charts.pop(ref, None)

    def view(self, account: Account, hosted: Hosted, seen: Observed, pod: Pod | None) -> HostView:
        """How a server is.

        Args:
            account: Whose.
            hosted: It.
            seen: What the lists and lookups say of its pod.
            pod: As it was listed, if it was.
        """
        price = {"price_per_hour": pod.cost if pod is not None else None}
        if seen.phase is Phase.GONE:
            self.forget(hosted.ref)
            return HostView(HostPhase.GONE, {"total": 0}, detail=seen.detail or "RunPod knows no such pod any more.")
        if seen.phase is Phase.UNKNOWN:
            return HostView(HostPhase.UNKNOWN, detail=seen.detail)
        if seen.phase is Phase.EXITED:
            return _lost(seen.detail, **price)
        if seen.phase is Phase.STARTING:
            return self._starting(account, hosted, seen, price)
        return self._running(account, hosted, pod, price)

    def _starting(self, account: Account, hosted: Hosted, seen: Observed, price: dict[str, Any]) -> HostView:
        age = self._clock() - (instant(hosted.data.get("since")) or self._clock())
        if age > MOST_STARTING:
            said = last_words(self._api, account, hosted.ref, self._log_seconds)
            return _lost(f"The pod does not start: {_minutes(age)} so far. {said}", **price)
        workers = {"initializing": 1, "total": 1}
        return HostView(HostPhase.STARTING, workers, detail=seen.detail or "The pod is starting.", **price)

    def _running(self, account: Account, hosted: Hosted, pod: Pod | None, price: dict[str, Any]) -> HostView:
        now, chart = self._clock(), self._charts.setdefault(hosted.ref, _Chart())
        self._note_start(chart, pod, now)
        is_open = self._answers(hosted.endpoint)
        if is_open:
            chart.answered_at, chart.silent_since = now, None
        else:
            chart.silent_since = chart.silent_since or now
            self._read_starts(account, hosted.ref, chart, now)
        if len(chart.starts) >= LOOP_STARTS:
            said = last_words(self._api, account, hosted.ref, self._log_seconds, "container")
            many = f"its main process was started {len(chart.starts)} times in {_minutes(LOOP)}"
            return _lost(f"Crash loop: {many}, and RunPod bills on. Last lines: {said or '-'}", **price)
        if is_open:
            return HostView(HostPhase.READY, {"running": 1, "total": 1}, detail="1 running", **price)
        return self._silent(account, hosted, chart, now, price)

    def _silent(
        self, account: Account, hosted: Hosted, chart: _Chart, now: datetime, price: dict[str, Any]
    ) -> HostView:
        silence = now - (chart.silent_since or now)
        if silence > MOST_SILENT:
            said = last_words(self._api, account, hosted.ref, self._log_seconds, "container")
            words = f"The pod runs, and its server has not been ready for {_minutes(silence)}."
            return _lost(f"{words} Last lines: {said or '-'}", **price)
        if chart.answered_at is None:
            workers = {"initializing": 1, "total": 1}
            detail = "The container runs; its server is not ready yet."
            return HostView(HostPhase.STARTING, workers, detail=detail, **price)
        detail = f"Its server was ready, and does not answer since {silence.total_seconds():.0f} s."
        return HostView(HostPhase.SICK, {"unhealthy": 1, "total": 1}, detail=detail, **price)

    def _note_start(self, chart: _Chart, pod: Pod | None, now: datetime) -> None:
        """Counts a start when the container is younger than before, or than it must be by now."""
        if pod is not None and pod.uptime is not None:
            start = now - timedelta(seconds=pod.uptime)
            known, before = chart.started_at, chart.uptime
            if known is None or before is None or pod.uptime < before or start - known > _STALE:
                chart.started_at = start
                chart.starts.append(start)
            chart.uptime = pod.uptime
        chart.starts = [start for start in chart.starts if now - start <= LOOP]

    def _read_starts(self, account: Account, ref: str, chart: _Chart, now: datetime) -> None:
        """Counts the starts in the host's log, once a minute: what ends quicker than we look shows there alone."""
        if chart.read_log_at is not None and now - chart.read_log_at < _LOG_EVERY:
            return
        chart.read_log_at = now
        try:
            events = self._api.logs(account, ref, source="system", tail=_LOG_LINES, after="", seconds=self._log_seconds)
        except MarketplaceError:  # the next look reads it
            return
        found = {instant(event.at) for event in events if _START_LINE in event.text.lower()}
        recent = sorted(at for at in found if at is not None and now - at <= LOOP)
        chart.starts = max(chart.starts, recent, key=len)

    def _answers(self, address: str) -> bool:
        try:
            with (
                within(_DOOR_SECONDS) as trace,
                self._door.stream("GET", f"{address}/ready", extensions={"trace": trace}) as answer,
            ):  # the body is the vendor's: not read
                return answer.status_code == _OK
        except httpx.HTTPError:
            return False


def _lost(detail: str, **price: Any) -> HostView:
    workers = {"unhealthy": 1, "total": 1}
    return HostView(HostPhase.SICK, workers, detail=detail.strip(), is_beyond_repair=True, **price)


def _minutes(span: timedelta) -> str:
    return f"{span.total_seconds() / 60:.0f} min"
