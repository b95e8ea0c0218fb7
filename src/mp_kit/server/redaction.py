"""Keeps secrets out of logs: our tokens, JWTs, the signatures of presigned URLs, and every value that it was told.

1. It works on the finished text of a record, so that arguments and tracebacks are covered too.
2. It sits on the loggers below and on every handler of the process, whosever it is: a record that a child logger
   passes up meets the handler's filter. Handlers that come later do not have it yet, so that records are redacted
   when they are made, too.
3. What is replaced keeps its prefix, so that a reader sees which kind of secret stood there.
4. A value that has no shape of its own is remembered when it passes through the process, by whoever holds it then
   (:mod:`mp_kit.server.vault`, the composition root), and goes whole.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from mp_kit.masking import mask

__all__ = ["LOGGERS", "RedactionFilter", "handlers", "install", "redact", "remember"]

LOGGERS = ("", "mp_kit", "prefect", "prefect.flow_runs", "prefect.task_runs", "uvicorn", "uvicorn.error", "litestar")
"""The loggers whose records pass the filter; the empty name is the root."""


def redact(text: str) -> str:
    """Replaces what looks like a secret.

    Args:
        text: Any text: a log line, a notebook's output, an error.

    Returns:
        The text with each secret's tail as ``***``.
    """
    return mask(_KNOWN.redact(text))


def remember(*values: str) -> None:
    """From now on :func:`redact` knows these values, in this process.

    Args:
        *values: Secrets as they are; one under 8 characters is let be, because words would go with it.
    """
    for value in values:
        _KNOWN.add(value)


class _Known:
    """Secret values, the latest so many, found by their first characters: the time does not grow with their number."""

    _HEAD = 8
    _MOST = 4_096

    def __init__(self) -> None:
        self._values: dict[str, None] = {}  # in the order of their coming
        self._by_head: dict[str, tuple[str, ...]] = {}  # longest first
        self._lock = threading.Lock()

    def add(self, value: str) -> None:
        """Adds a value, and how it looks in a URL."""
        with self._lock:
            for form in {value, quote(value, safe="")} - self._values.keys():
                if len(form) >= self._HEAD:
                    self._values[form] = None
                    self._file(form[: self._HEAD], form)
            while len(self._values) > self._MOST:
                oldest = next(iter(self._values))
                del self._values[oldest]
                self._file(oldest[: self._HEAD])

    def redact(self, text: str) -> str:
        """Puts stars where a known value stands."""
        by_head, said, start, at = self._by_head, [], 0, 0
        while by_head and at <= len(text) - self._HEAD:
            values = by_head.get(text[at : at + self._HEAD], ())
            found = next((value for value in values if text.startswith(value, at)), None)
            if found is None:
                at += 1
                continue
            said += [text[start:at], "***"]
            start = at = at + len(found)
        return "".join([*said, text[start:]])

    def _file(self, head: str, *more: str) -> None:
        alike = {value for value in self._by_head.get(head, ()) if value in self._values}.union(more)
        if alike:
            self._by_head[head] = tuple(sorted(alike, key=len, reverse=True))
        else:
            self._by_head.pop(head, None)


class RedactionFilter(logging.Filter):
    """Rewrites a record's message and traceback; it lets every record pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redacts in place, once: a record passes a maker, a logger and a handler."""
        state = (record.msg, record.args, record.exc_info, record.stack_info)
        if getattr(record, _DONE, None) == state:
            return True
        record.msg, record.args = redact(_message(record)), None
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = redact("".join(traceback.format_exception(*record.exc_info)).rstrip())
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        setattr(record, _DONE, (record.msg, record.args, record.exc_info, record.stack_info))
        return True


def install() -> None:
    """Puts the filter on loggers and handlers of this process, and on what is logged later; again is harmless."""
    for target in (*map(logging.getLogger, LOGGERS), *handlers()):
        if not any(isinstance(found, RedactionFilter) for found in target.filters):
            target.addFilter(_FILTER)
    make = logging.getLogRecordFactory()
    if not isinstance(make, _RedactedRecords):
        logging.setLogRecordFactory(_RedactedRecords(make))


def handlers() -> list[logging.Handler]:
    """Every handler of this process, each once: the root's, and those of all loggers that there are."""
    known = [each for each in logging.Logger.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    return list(dict.fromkeys(handler for logger in (logging.getLogger(), *known) for handler in logger.handlers))


class _RedactedRecords:
    """Makes records as they were made before, and redacts them."""

    def __init__(self, make: Callable[..., logging.LogRecord]) -> None:
        self._make = make

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self._make(*args, **kwargs)
        _FILTER.filter(record)
        return record


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):  # arguments that do not fit: logging would print them raw
        return f"{record.msg} {record.args!r}"


_DONE = "mp_redacted"
"""A record's attribute: what it held when it was redacted."""
_FILTER = RedactionFilter()
_KNOWN = _Known()
