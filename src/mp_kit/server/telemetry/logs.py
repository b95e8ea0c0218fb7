"""Logs: one line an event, as JSON for machines or as text for terminals, with the ids of the work at hand.

1. Every handler has the redaction filter, and what a formatter adds to a message is redacted as well.
2. A line is a line: whatever breaks lines or moves a terminal's cursor is escaped, so that nobody can write a second
   event into the first. Only a traceback of the text form has several lines, indented.
3. Uncaught exceptions of the main thread and of others are logged, and so pass the same way.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

from mp_kit.server import redaction
from mp_kit.server.telemetry import trail

__all__ = ["FIELDS", "JsonFormatter", "TextFormatter", "configure", "follow"]

LogFormat = Literal["json", "text"]

FIELDS = "fields"
"""``extra={FIELDS: {…}}`` of a log call: what the line has beside the message, flat, JSON's own types."""

_FLOW_IDS = ("flow_run_id", "task_run_id")
"""What Prefect puts on records of flow and task runs."""

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_uncaught = logging.getLogger("mp_kit.uncaught")


class JsonFormatter(logging.Formatter):
    """A record as one JSON object: time, level, logger, message, then ids and fields where there are any."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            **_told(record),
        }
        if exception := _exception(self, record):
            line["exception"] = exception
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """A record as a line for people: ``time LEVEL logger: message [id=value …]``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback below it."""
        when = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%d %H:%M:%S")
        told = {name: _CONTROLS.sub(_escape, str(value)) for name, value in _told(record).items()}
        line = f"{when} {record.levelname:<7} {record.name}: {told.pop('message')}"
        line += f" [{' '.join(f'{name}={value}' for name, value in told.items())}]" if told else ""
        exception = _exception(self, record)
        return line + (f"\n{_indented(exception)}" if exception else "")


def configure(form: LogFormat, level: str = "info") -> None:
    """Makes standard error of this process the place of all logs, in one form; replaces the root's handlers.

    Args:
        form: ``json`` or ``text``.
        level: Of mp-kit's own loggers; libraries tell from warnings on.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(form))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("mp_kit").setLevel(level.upper())
    redaction.install()
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_of_thread


def follow(form: LogFormat) -> None:
    """Has a process whose logging is somebody else's (Prefect's) write JSON to its streams, where JSON is wanted.

    Args:
        form: ``text`` leaves everything as it is.
    """
    if form != "json":
        return
    for handler in redaction.handlers():
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.setFormatter(JsonFormatter())


def _formatter(form: LogFormat) -> logging.Formatter:
    return JsonFormatter() if form == "json" else TextFormatter()


def _told(record: logging.LogRecord) -> dict[str, Any]:
    """The message, ids of the work at hand and the call's own fields, without what is empty; texts redacted."""
    at_hand = trail.current()
    found: dict[str, Any] = {} if at_hand is None else {name: getattr(at_hand, name) for name in trail.IDS}
    found |= {name: getattr(record, name, None) for name in _FLOW_IDS}
    found |= getattr(record, FIELDS, {})
    kept = {name: value for name, value in found.items() if value not in (None, "")}
    return _redacted({"message": record.getMessage(), **kept})


def _redacted(values: dict[str, Any]) -> dict[str, Any]:
    """Redacts all texts of a line at once: one pass of the patterns instead of one a value."""
    texts = {name: value for name, value in values.items() if isinstance(value, str)}
    parts = redaction.redact("\n".join(texts.values())).split("\n")
    if len(parts) != len(texts):  # a text has lines of its own
        parts = [redaction.redact(text) for text in texts.values()]
    return values | dict(zip(texts, parts, strict=True))


def _exception(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """The traceback, redacted also where no filter made its text."""
    text = record.exc_text or (formatter.formatException(record.exc_info) if record.exc_info else "")
    return redaction.redact("\n".join(filter(None, (text, record.stack_info))))


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def _indented(text: str) -> str:
    return "\n".join(f"    {_CONTROLS.sub(_escape, line)}" for line in text.split("\n"))


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    _uncaught.critical("the process ends with %s", kind.__name__, exc_info=(kind, error, trace))


def _log_of_thread(args: threading.ExceptHookArgs) -> None:
    name = args.thread.name if args.thread else "unknown"
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        info = (args.exc_type, args.exc_value, args.exc_traceback)
        _uncaught.error("thread %s ended with %s", name, args.exc_type.__name__, exc_info=info)
