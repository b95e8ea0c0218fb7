"""Log lines on disk, numbered by their place in the file, from where they are shipped exactly once.

1. A line is on disk before it is sent, so an outage of any length loses nothing.
2. A line's number is ``base + index``. The base is what the marketplace wanted next when this folder was new, so a
   second container of the same run goes on counting where the first one ended.
3. Secrets are masked before they reach the disk.
4. A log has a largest size. What comes beyond is counted, and its last lines, which as a rule say how it ended, are
   kept in memory and written at the end. A full disk counts as the largest size.
"""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Literal

from mp_kit.contracts.training import LogChunkLine

__all__ = ["MAX_LINE", "LogSpool", "Stream", "mask"]

Stream = Literal["stdout", "stderr", "system"]

MAX_LINE = 16_000
"""Characters of a line; a longer one is cut into several."""

MAX_SPOOL_BYTES = 32 * 1024 * 1024
"""A job that writes more than this loses the middle of its log, and a line of the system's says how much."""

TAIL_LINES = 200
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
        most_bytes: Size of the file beyond which only the last lines are kept.
    """

    def __init__(self, path: Path, secrets: Iterable[str] = (), *, most_bytes: int = MAX_SPOOL_BYTES) -> None:
        self._secrets = tuple(secret for secret in secrets if secret)
        self._path = path
        self._lock = threading.Lock()
        self._cursor = (0, 0)  # index of a line and its byte offset: where the last read ended
        self._bytes, self.total = _repair(path)
        self._most_bytes = most_bytes
        self._tail: deque[LogChunkLine] = deque(maxlen=TAIL_LINES)
        self._beyond = 0
        self._file: IO[bytes] = path.open("ab", buffering=0)
        self.grown = threading.Event()

    def write(self, stream: Stream, text: str) -> None:
        """Appends a line, cutting it if it is overlong. Thread-safe."""
        text = mask(text.rstrip("\r\n"), self._secrets).replace("\x00", "\N{REPLACEMENT CHARACTER}")
        pieces = [text[at : at + MAX_LINE] for at in range(0, max(len(text), 1), MAX_LINE)]
        with self._lock:
            for piece in pieces:
                self._append(stream, piece)
        self.grown.set()

    def end(self) -> None:
        """Writes what was kept of a log beyond its largest size: how much is missing, and the last lines."""
        with self._lock:
            kept, self._tail = list(self._tail), deque(maxlen=TAIL_LINES)
            missing, self._beyond = self._beyond - len(kept), 0
            if missing > 0:
                note = f"{missing} lines are left out here: the log has reached its largest size."
                kept.insert(0, LogChunkLine(at=datetime.now(UTC), stream="system", text=note))
            for line in kept:
                self._put(line)
        self.grown.set()

    def _append(self, stream: Stream, text: str) -> None:
        line = LogChunkLine(at=datetime.now(UTC), stream=stream, text=text)
        if self._bytes >= self._most_bytes or not self._put(line):
            self._tail.append(line)
            self._beyond += 1

    def _put(self, line: LogChunkLine) -> bool:
        """Appends a whole line, or nothing of it where the disk has no room."""
        raw = line.model_dump_json().encode() + b"\n"
        try:
            is_whole = self._file.write(raw) == len(raw)
        except OSError:
            is_whole = False
        if not is_whole:
            os.truncate(self._path, self._bytes)
            return False
        self._bytes += len(raw)
        self.total += 1
        return True

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
