"""Bodies of signals: JSON, one JSON document a line, or an Arrow stream; all become rows."""

from __future__ import annotations

import struct
from typing import Any

import pyarrow as pa
from pydantic_core import from_json

from mp_kit.contracts.signal_rules import MAX_ROWS
from mp_kit.errors import InvalidInputError, MalformedJsonError, TooLargeError, UnsupportedMediaError
from mp_kit.server.edge.arrow_sizes import unpacked_bytes
from mp_kit.server.edge.parts import JSON_TYPES
from mp_kit.server.services.arrow_weight import MOST_VALUES, check_weight
from mp_kit.server.services.signal_reading import Items

NDJSON = "application/x-ndjson"
ARROW = "application/vnd.apache.arrow.stream"
_MAX_UNPACKED = 256 * 1024 * 1024
_FEW_BYTES = 4 * 1024 * 1024


def read_rows(body: bytes, content_type: str) -> Items:
    """The rows of a body; an Arrow stream stays a table.

    Args:
        body: As received.
        content_type: Its media type, lower-case, without parameters.

    Raises:
        MalformedJsonError: It is not what it says it is.
        InvalidInputError: It is JSON, but neither a list nor one object.
        UnsupportedMediaError: No route takes this type.
        TooLargeError: A compressed body unpacks to more than we take.
    """
    if content_type == ARROW:
        return _read_arrow(body)
    return read_json_rows(body, content_type, beside=f", {ARROW}")


def read_json_rows(body: bytes, content_type: str, *, beside: str = "") -> list[Any]:
    """The rows of a body that is JSON, or one JSON document a line.

    Args:
        body: As received.
        content_type: Its media type, lower-case, without parameters.
        beside: What else the route takes, for the message.

    Raises:
        MalformedJsonError: It is not what it says it is.
        InvalidInputError: It is JSON, but neither a list nor one object.
        UnsupportedMediaError: No route takes this type.
        TooLargeError: It has more lines than a batch has rows, or more values than we hold.
    """
    if content_type in JSON_TYPES or content_type.endswith("+json"):
        if len(body) > _FEW_BYTES and body.count(b",") > MOST_VALUES:  # an empty object costs 30 times its two bytes
            raise TooLargeError(f"A batch has at most {MOST_VALUES} values and {MAX_ROWS} signals.")
        return _one_or_many(_parse(body, "The body"))
    if content_type == NDJSON:
        return _read_lines(body)
    raise UnsupportedMediaError(f"Rows come as application/json, {NDJSON}{beside}, not {content_type}.")


def _parse(text: bytes, what: str) -> Any:
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise MalformedJsonError(f"{what} is not valid JSON: {error}.") from error


def _one_or_many(document: Any) -> list[Any]:
    if isinstance(document, dict):
        return [document]
    if isinstance(document, list):
        return document
    raise InvalidInputError("Signals come as a list of objects.", details=[{"loc": [], "msg": "not a list"}])


def _read_lines(body: bytes) -> list[Any]:
    if body.count(b"\n") > 2 * MAX_ROWS:  # with room for empty ones
        raise TooLargeError(f"A batch has at most {MAX_ROWS} signals, one a line.")
    lines = enumerate(body.splitlines(), start=1)
    return [_parse(line, f"Line {number}") for number, line in lines if line.strip()]


def _read_arrow(body: bytes) -> pa.Table:
    batches: list[pa.RecordBatch] = []
    unpacked = count = 0
    try:
        if unpacked_bytes(body) > _MAX_UNPACKED:
            raise TooLargeError(f"A batch has at most {_MAX_UNPACKED} bytes unpacked.")
        with pa.ipc.open_stream(body) as reader:
            for batch in reader:
                batch.validate(full=True)  # before anything follows its offsets: they are the sender's
                check_weight(batch)
                unpacked += batch.nbytes
                count += batch.num_rows
                if unpacked > _MAX_UNPACKED or count > MAX_ROWS:
                    raise TooLargeError(f"A batch has at most {MAX_ROWS} signals and {_MAX_UNPACKED} bytes unpacked.")
                batches.append(batch)
            return pa.Table.from_batches(batches, reader.schema)
    except (pa.ArrowException, OSError) as error:  # OSError: the body ends in the middle of a message
        raise MalformedJsonError(f"The body is no Arrow stream: {str(error)[:200]}.") from error
    except (ValueError, OverflowError, LookupError, struct.error) as error:
        raise MalformedJsonError(f"The Arrow stream holds a value that cannot be read: {str(error)[:200]}.") from error
