"""Log lines on disk, numbered by their place in the file, from where they are shipped exactly once.

1. A line is on disk before it is sent, so an outage of any length loses nothing.
2. A line's number is ``base + index``. The base is what the marketplace wanted next when this folder was new, so a
   second container of the same run goes on counting where the first one ended.
3. The marketplace's answer decides what comes next: it names the first number that it does not have yet.
4. Secrets are masked before they reach the disk.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Literal

from mp_kit.contracts.training import LogChunk, LogChunkLine
from mp_kit.errors import MarketplaceError
from mp_kit.trainer.api import RunApi

__all__ = ["LogShipper", "LogSpool", "Stream", "mask"]

Stream = Literal["stdout", "stderr", "system"]

MAX_LINE = 16_000
"""Characters of a line; a longer one is cut into several."""

MAX_SPOOL_BYTES = 512 * 1024 * 1024
"""A job that writes more than this loses the rest of its log, and a last line says so."""

_CHUNK_LINES = 2_000
_CHUNK_BYTES = 1 << 20
_SIGNED = re.compile(
    r"((?:X-Amz-Signature|X-Amz-Credential|X-Amz-Security-Token|Signature|sig|signature|token)=)[^&\s\"']+"
)
_TOKENS = re.compile(r"\b(?:vk|sit|ac|whsec)_[A-Za-z0-9_\-]{8,}|\beyJ[\w\-]+\.[\w\-]+\.[\w\-]+")


def mask(text: str, secrets: Iterable[str] = ()) -> str:
    """Hides known secrets, tokens of ours, JWTs and the signatures of presigned URLs."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return _TOKENS.sub("***", _SIGNED.sub(r"\1***", text))


class LogSpool:
    """An append-only file of log lines.

    Args:
        path: The file; half a line that a crash left at its end is cut off.
        secrets: Values to mask.
    """

    def __init__(self, path: Path, secrets: Iterable[str] = ()) -> None:
        self._secrets = tuple(secret for secret in secrets if secret)
        self._path = path
        self._lock = threading.Lock()
        self._cursor = (0, 0)  # index of a line and its byte offset: where the last read ended
        self._bytes, self.total = _repair(path)
        self._file: IO[bytes] = path.open("ab")
        self.grown = threading.Event()

    def write(self, stream: Stream, text: str) -> None:
        """Appends a line, cutting it if it is overlong. Thread-safe."""
        text = mask(text.rstrip("\r\n"), self._secrets).replace("\x00", "\N{REPLACEMENT CHARACTER}")
        pieces = [text[at : at + MAX_LINE] for at in range(0, max(len(text), 1), MAX_LINE)]
        with self._lock:
            for piece in pieces:
                self._append(stream, piece)
        self.grown.set()

    def _append(self, stream: Stream, text: str) -> None:
        if self._bytes > MAX_SPOOL_BYTES:
            return
        line = LogChunkLine(at=datetime.now(UTC), stream=stream, text=text).model_dump_json().encode() + b"\n"
        if self._bytes + len(line) > MAX_SPOOL_BYTES:
            self._bytes = MAX_SPOOL_BYTES
            note = "The log ends here: it has reached its largest size."
            line = LogChunkLine(at=datetime.now(UTC), stream="system", text=note).model_dump_json().encode() + b"\n"
        self._file.write(line)
        self._file.flush()
        self._bytes += len(line)
        self.total += 1

    def read(self, index: int) -> list[LogChunkLine]:
        """The lines from ``index`` on, at most one chunk of them."""
        lines: list[LogChunkLine] = []
        with self._path.open("rb") as spool:
            offset = self._seek(spool, index)
            size = 0
            while len(lines) < _CHUNK_LINES and size < _CHUNK_BYTES:
                raw = spool.readline()
                if not raw.endswith(b"\n"):
                    break
                lines.append(LogChunkLine.model_validate_json(raw))
                size += len(raw)
        self._cursor = (index + len(lines), offset + size)
        return lines

    def _seek(self, spool: IO[bytes], index: int) -> int:
        start, offset = self._cursor if self._cursor[0] <= index else (0, 0)
        spool.seek(offset)
        for _ in range(index - start):
            offset += len(spool.readline())
        return offset

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _repair(path: Path) -> tuple[int, int]:
    """Cuts off half a line; returns the file's bytes and whole lines."""
    size = lines = 0
    if path.exists():
        with path.open("rb") as spool:
            for raw in spool:
                if raw.endswith(b"\n"):
                    size, lines = size + len(raw), lines + 1
        with path.open("r+b") as spool:
            spool.truncate(size)
    return size, lines


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
