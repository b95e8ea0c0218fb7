"""What is seen of pods: lists shared by all who ask about an account, and when an absent pod counts as gone.

1. One list call per account, however many pods and threads; a list may be a moment old, and knows what we made since.
2. A new pod may be missing for a while, so that one absence proves nothing. GONE takes two kinds of reading, the list
   and a GET of the pod itself that says 404, for a pod that is older than the settling time; or for one that this
   process has seen in a list, has missed for some seconds, and then finds missing in both.
3. What is remembered only makes an answer quicker: a process that has forgotten it waits for the settling time.
4. One account that does not answer leaves only its own pods unknown.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from mp_kit.errors import MarketplaceError
from mp_kit.server.providers.base import Handle, Observed, Phase
from mp_kit.server.providers.runpod_api import Account, RunPodApi
from mp_kit.server.providers.runpod_failures import scrub
from mp_kit.server.providers.runpod_wire import Pod, instant

__all__ = ["PodLists", "Watch", "last_words"]

MISSED_SECONDS = 4.5
"""A pod that was seen, and is missing in every list for this long, is looked up by its id."""

_MAX_REMEMBERED = 20_000
_MAX_LOOKUPS = 50
_MAX_LOGS = 3
_LOG_LINES = 20
_LAST_LINES = 5
_TROUBLED = {"ERROR", "EXITED"}


@dataclass
class _Snapshot:
    lock: threading.Lock = field(default_factory=threading.Lock)
    at: datetime | None = None
    listed: dict[str, Pod] = field(default_factory=dict)
    made: dict[str, Pod] = field(default_factory=dict)


class PodLists:
    """The latest list of each account.

    Args:
        api: To ask.
        clock: The time.
    """

    def __init__(self, api: RunPodApi, clock: Callable[[], datetime]) -> None:
        self._api = api
        self._clock = clock
        self._snapshots: dict[str, _Snapshot] = {}

    def listed(self, account: Account, max_age: float = 0.0) -> Mapping[str, Pod]:
        """An account's pods by id as RunPod lists them, no older than so many seconds; those who wait share the answer.

        Raises:
            ProviderError: RunPod does not answer.
        """
        snapshot, asked_at = self._snapshot(account), self._clock()
        with snapshot.lock:
            self._refresh(account, snapshot, asked_at - timedelta(seconds=max_age))
            return dict(snapshot.listed)

    def known(self, account: Account, max_age: float = 0.0) -> list[Pod]:
        """The listed ones, and those that were made since.

        Raises:
            ProviderError: RunPod does not answer.
        """
        listed = self.listed(account, max_age)
        return list({**self._snapshot(account).made, **listed}.values())

    def add(self, account: Account, pod: Pod) -> None:
        """Notes a pod that was just made."""
        snapshot = self._snapshot(account)
        with snapshot.lock:
            snapshot.made = {**snapshot.made, pod.id: pod}

    def _refresh(self, account: Account, snapshot: _Snapshot, oldest: datetime) -> None:
        if snapshot.at is not None and snapshot.at > oldest:
            return
        began = self._clock()
        snapshot.listed = {pod.id: pod for pod in self._api.pods(account)}
        snapshot.made = {}
        snapshot.at = began

    def _snapshot(self, account: Account) -> _Snapshot:
        return self._snapshots.setdefault(account.vendor_id, _Snapshot())


@dataclass(frozen=True)
class _Sighting:
    missed_since: datetime | None = None
    words: str = ""


class Watch:
    """Tells how pods are.

    Args:
        api: To ask about single pods.
        clock: The time.
        settle_seconds: Below this age an absence proves nothing.
        log_seconds: Longest time to read a troubled pod's log of its host.
    """

    def __init__(
        self, api: RunPodApi, clock: Callable[[], datetime], settle_seconds: float, log_seconds: float
    ) -> None:
        self._api = api
        self._log_seconds = log_seconds
        self._clock = clock
        self._settle = timedelta(seconds=settle_seconds)
        self._missed = timedelta(seconds=min(MISSED_SECONDS, settle_seconds))
        self._sightings: OrderedDict[str, _Sighting] = OrderedDict()
        self._lock = threading.Lock()

    def look(self, account: Account, pods: Mapping[str, Pod], handles: Sequence[Handle]) -> dict[str, Observed]:
        """What is seen of an account's pods.

        Args:
            account: Whose.
            pods: Its list, by id.
            handles: Those of interest.
        """
        there = [handle for handle in handles if handle.ref in pods]
        absent = [handle for handle in handles if handle.ref not in pods]
        logs = _MAX_LOGS
        seen: dict[str, Observed] = {}
        for handle in there:
            pod = pods[handle.ref]
            logs -= self._remember_words(account, pod) if logs else 0
            seen[handle.ref] = self._of(pod)
        return seen | self._absent(account, absent)

    def _of(self, pod: Pod) -> Observed:
        known = self._known(pod.id) or _Sighting()
        self._remember(pod.id, replace(known, missed_since=None))
        words = f" {known.words}" if known.words else ""
        if pod.status == "ERROR":
            return Observed(pod.phase, detail=f"The container is in an error that it does not leave.{words}")
        if pod.phase is Phase.EXITED:
            return Observed(pod.phase, detail=f"The container has stopped; the pod is still there.{words}")
        return Observed(pod.phase, detail="" if pod.phase is not Phase.UNKNOWN else f"RunPod says {pod.status!r}.")

    def _absent(self, account: Account, handles: Iterable[Handle]) -> dict[str, Observed]:
        found: dict[str, Observed] = {}
        lookups = _MAX_LOOKUPS
        for handle in handles:
            waiting = self._too_early(handle)
            if waiting is None and lookups:
                lookups -= 1
                waiting = self._look_up(account, handle)
            found[handle.ref] = waiting or Observed(Phase.UNKNOWN, detail="Not in the list of pods; to be looked up.")
        return found

    def _too_early(self, handle: Handle) -> Observed | None:
        """What to say of a pod whose absence proves nothing yet; None once it is worth looking up."""
        now, known = self._clock(), self._known(handle.ref)
        since = instant(handle.data.get("since"))
        if since is None or now - since > self._settle:
            return None
        if known is None:
            return Observed(Phase.STARTING, detail="RunPod does not list the new pod yet.")
        missed = known.missed_since or now
        self._remember(handle.ref, replace(known, missed_since=missed))
        return None if now - missed >= self._missed else Observed(Phase.UNKNOWN, detail="Missing in the list of pods.")

    def _look_up(self, account: Account, handle: Handle) -> Observed:
        try:
            pod = self._api.pod(account, handle.ref)
        except MarketplaceError as error:
            return Observed(Phase.UNKNOWN, detail=str(error))
        if pod is not None:
            return self._of(pod)
        known = self._known(handle.ref)
        return Observed(Phase.GONE, detail=known.words if known else "")

    def _remember_words(self, account: Account, pod: Pod) -> int:
        """Reads the host's last lines about a pod in trouble, once; returns how many streams it read."""
        known = self._known(pod.id) or _Sighting()
        if pod.status not in _TROUBLED or known.words:
            return 0
        words = last_words(self._api, account, pod.id, self._log_seconds)
        self._remember(pod.id, replace(known, words=words or "RunPod has no log of its host."))
        return 1

    def _known(self, ref: str) -> _Sighting | None:
        with self._lock:
            return self._sightings.get(ref)

    def _remember(self, ref: str, sighting: _Sighting) -> None:
        with self._lock:
            self._sightings[ref] = sighting
            self._sightings.move_to_end(ref)
            while len(self._sightings) > _MAX_REMEMBERED:
                self._sightings.popitem(last=False)


def last_words(api: RunPodApi, account: Account, pod_id: str, seconds: float, source: str = "system") -> str:
    """The last lines of a log, by default the host's: pulling, creating, starting; empty if there are none to read."""
    try:
        events = api.logs(account, pod_id, source=source, tail=_LOG_LINES, after="", seconds=seconds)
    except MarketplaceError as error:
        return f"(its {source} log cannot be read: {error})"
    lines = list(dict.fromkeys(event.text.strip() for event in events))
    return scrub(" | ".join(lines[-_LAST_LINES:]), [account.key])
