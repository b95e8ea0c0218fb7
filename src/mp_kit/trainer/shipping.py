"""Log lines on their way from the disk to the marketplace, each stored exactly once.

1. The marketplace's answer decides what comes next: it names the first number that it does not have yet.
2. The number of the folder's first line is on disk, so a second container of the same run counts on from the first.
3. A marketplace that takes no more lines is not asked again; the lines stay on disk.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from mp_kit.contracts.training import LogChunk
from mp_kit.errors import MarketplaceError
from mp_kit.trainer.api import RunApi
from mp_kit.trainer.spool import LogSpool

__all__ = ["LogShipper", "Shipping"]

_LONGEST_WAIT = 15.0
_REST_SECONDS = 35.0


class LogShipper:
    """Sends what the spool has and the marketplace lacks.

    Args:
        spool: Where the lines are.
        api: Whom to send them to.
        base: File that remembers the number of the spool's first line.
    """

    def __init__(self, spool: LogSpool, api: RunApi, base: Path) -> None:
        self._spool = spool
        self._api = api
        self._base = base
        self._sent = 0
        self._refused: MarketplaceError | None = None

    @property
    def is_done(self) -> bool:
        """Everything written so far is stored, or the marketplace takes no more."""
        return self._refused is not None or self._sent >= self._spool.total

    def step(self) -> None:
        """Ships one chunk.

        Raises:
            MarketplaceError: It could not be shipped; a retryable error is worth another step later.
        """
        if self._refused:
            return
        try:
            self._ship(self._first_number())
        except MarketplaceError as error:
            if not error.retryable:
                self._refused = error
            raise

    def _ship(self, base: int) -> None:
        lines = self._spool.read(self._sent)
        if lines:
            wanted = self._api.logs(LogChunk(seq=base + self._sent, lines=lines))
            self._sent = min(max(wanted - base, 0), self._spool.total)

    def _first_number(self) -> int:
        if not self._base.exists():
            number = self._api.logs(LogChunk(seq=0, lines=[]))  # an empty chunk only asks
            aside = self._base.with_suffix(".new")
            aside.write_text(str(number))
            aside.replace(self._base)
        return int(self._base.read_text())


class Shipping:
    """Ships in the background whatever is written.

    Args:
        spool: Says when it has grown.
        shipper: Ships.
        seconds: Between two shipments.
    """

    def __init__(self, spool: LogSpool, shipper: LogShipper, seconds: float) -> None:
        self._spool = spool
        self._shipper = shipper
        self._seconds = seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shipping", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def rest(self) -> None:
        """Ends, and waits until the shipper is nobody's: each call has an end, so the wait has one."""
        self._over.set()
        self._spool.grown.set()
        if self._thread.ident is not None:
            self._thread.join(_REST_SECONDS)

    def _run(self) -> None:
        wait = self._seconds
        while not self._over.is_set():
            self._spool.grown.wait()
            self._spool.grown.clear()
            wait = self._drain(wait)
            self._over.wait(wait)

    def _drain(self, wait: float) -> float:
        try:
            while not self._shipper.is_done and not self._over.is_set():
                self._shipper.step()
        except MarketplaceError as error:
            sys.stderr.write(f"mp-kit trainer: log lines wait on disk: {error}\n")
            self._spool.grown.set()
            return min(wait * 2, _LONGEST_WAIT) if error.retryable else 3_600.0
        return self._seconds
