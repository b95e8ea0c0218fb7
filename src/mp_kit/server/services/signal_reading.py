"""Reading a batch of signals by columns.

1. The rules stand in :mod:`mp_kit.server.services.signal_rows`, row by row. What is here only finds rows that pass them
   beyond doubt, thousands at once; every other row is judged by the rules themselves.
2. So a row's verdict never depends on the way it was read, and only rows that are bad, or odd, cost time.
3. Texts and instants are judged once per different value, by the contract's own types.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from mp_kit.contracts import SignalWrite, translate
from mp_kit.contracts.common import TIMEFRAME_SECONDS, Decision, Identifier, Symbol, VersionText
from mp_kit.contracts.signal_rules import FUTURE, MAX_ROWS
from mp_kit.errors import MalformedJsonError
from mp_kit.server.services.signal_rows import Row, check_claims, read_batch
from mp_kit.server.services.signal_sources import Dicts, Source, Table
from mp_kit.server.store.signal_columns import Columns, Documents, Ints, Mask, Words, micros

__all__ = ["Items", "Reading", "Rules", "by_columns", "by_rules", "read"]

Items: TypeAlias = "Sequence[Any] | pa.Table"
"""A batch as it came: rows in any of the three dialects, or an Arrow table."""

FEW = 32
"""Below this many rows the rules themselves are quicker than the columns' fixed cost."""

_SECOND = 1_000_000
_TEXTS = ("symbol", "timeframe", "model_version", "decision", "model_id")
_TYPES = {"symbol": Symbol, "model_version": VersionText, "model_id": Identifier}
_ADAPTERS: dict[str, TypeAdapter[Any]] = {name: TypeAdapter(kind) for name, kind in _TYPES.items()}
_DECISIONS = frozenset(decision.value for decision in Decision)
_MAX_REASONS = SignalWrite.model_fields["rationale"].metadata[0].max_length


@dataclass(frozen=True)
class Rules:
    """What a batch is judged by.

    Args:
        now: When the batch was received.
        grace: How long after its bar's end a signal still counts.
        symbols: The only symbols that the token may speak of; any when None.
        vendor_id: What the token says of the rows' origin.
        deployment_id: Likewise.
        model_id: What a row without one speaks for.
    """

    now: datetime
    grace: timedelta
    deployment_id: str
    vendor_id: str | None = None
    symbols: Sequence[str] | None = None
    model_id: str | None = None


@dataclass(frozen=True)
class Reading:
    """A batch as read: good rows, and a sentence for each bad one."""

    good: Columns
    bad: Mapping[int, str]


def read(items: Items, rules: Rules) -> Reading:
    """Tells good rows from bad ones; a bad one never takes a good one with it.

    Raises:
        InvalidInputError: The batch is empty or too long.
        AttributionError: A good row claims another origin than the token's.
        MalformedJsonError: A value of an Arrow table cannot be read.
    """
    if len(items) <= FEW or len(items) > MAX_ROWS:
        return by_rules(items, rules)
    return by_columns(items, rules)


def by_rules(items: Items, rules: Rules) -> Reading:
    """As :func:`read`, by the rules alone."""
    return _judge(_rows_of(items), np.arange(len(items)), rules)


def by_columns(items: Items, rules: Rules) -> Reading:
    """As :func:`read`, by columns; the rules judge what is left."""
    if isinstance(items, pa.Table) and "bar_ts" in items.column_names:
        items = _rows_of(items)
    plain, found = _find_plain(items, rules)
    if plain.all():
        return Reading(found, {})
    numbers = np.flatnonzero(~plain)
    judged = _judge(_pick(items, numbers), numbers, rules)
    return Reading(_merge(found.take(np.flatnonzero(plain)), judged.good), judged.bad)


def _pick(items: Items, numbers: Ints) -> Sequence[Any]:
    if isinstance(items, pa.Table):
        try:
            return _rows_of(items.take(pa.array(numbers)))
        except pa.ArrowNotImplementedError:  # some types cannot be picked from
            items = _rows_of(items)
    return [items[row] for row in numbers.tolist()]


def _rows_of(items: Items) -> Sequence[Any]:
    if not isinstance(items, pa.Table):
        return items
    try:
        rows: list[Any] = items.to_pylist()
    except (pa.ArrowException, ValueError, OverflowError, LookupError, struct.error) as error:
        # Times beyond the calendar, zones that nobody knows.
        raise MalformedJsonError(f"The Arrow stream holds a value that cannot be read: {str(error)[:200]}.") from error
    return rows


def _judge(items: Sequence[Any], numbers: Ints, rules: Rules) -> Reading:
    """By the rules themselves; rows are told by their numbers in the whole batch."""
    found = read_batch(items, now=rules.now, grace=rules.grace, symbols=rules.symbols)
    good = [row._replace(row_no=int(numbers[row.row_no])) for row in found.good]
    check_claims(good, vendor_id=rules.vendor_id, deployment_id=rules.deployment_id)
    return Reading(_columns_of(good, rules), {int(numbers[row]): why for row, why in found.bad.items()})


def _columns_of(rows: Sequence[Row], rules: Rules) -> Columns:
    signals = [row.signal for row in rows]
    texts = {
        "symbol": Words.of([signal.symbol for signal in signals]),
        "timeframe": Words.of([signal.timeframe.value for signal in signals]),
        "model_version": Words.of([signal.model_version for signal in signals]),
        "decision": Words.of([signal.decision.value for signal in signals]),
        "model_id": Words.of([signal.model_id or rules.model_id for signal in signals]),
    }
    return Columns(
        np.array([row.row_no for row in rows], np.int64),
        np.array([micros(row.event_time) for row in rows], np.int64),
        np.array([micros(signal.timestamp) for signal in signals], np.int64),
        np.array([signal.confidence for signal in signals], np.float64),
        np.array([row.late for row in rows], bool),
        texts,
        _documents([row.rationale for row in rows]),
        _documents([row.metadata for row in rows]),
    )


def _documents(texts: list[str | None]) -> Documents:
    return None if texts.count(None) == len(texts) else texts


def _merge(plain: Columns, judged: Columns) -> Columns:
    """Both, in the order of the rows' numbers."""
    if not len(judged):
        return plain
    texts = {}
    for name, one in plain.texts.items():
        other = judged.texts[name]
        codes = np.where(other.codes < 0, -1, other.codes + len(one.words) - 1)
        texts[name] = Words(np.concatenate([one.codes, codes]), [*one.words[:-1], *other.words[:-1], one.words[-1]])
    both = Columns(
        np.concatenate([plain.row_no, judged.row_no]),
        np.concatenate([plain.event_time, judged.event_time]),
        np.concatenate([plain.ts, judged.ts]),
        np.concatenate([plain.confidence, judged.confidence]),
        np.concatenate([plain.late, judged.late]),
        texts,
        _join(plain, plain.rationale, judged, judged.rationale),
        _join(plain, plain.metadata, judged, judged.metadata),
    )
    return both.take(np.argsort(both.row_no))


def _join(one: Columns, first: Documents, other: Columns, second: Documents) -> Documents:
    return _documents([*(first or [None] * len(one)), *(second or [None] * len(other))])


def _find_plain(items: Items, rules: Rules) -> tuple[Mask, Columns]:
    """Which rows are good beyond doubt, and columns of all rows, right where they are."""
    source: Source = Table(items) if isinstance(items, pa.Table) else Dicts([_own(item) for item in items])
    plain = source.readable.copy()
    texts = {}
    for name in _TEXTS:
        words = source.words(name)
        plain &= words.tell([_fits(name, word, rules) for word in words.words])
        texts[name] = words
    texts["model_id"] = Words(texts["model_id"].codes, [*texts["model_id"].words[:-1], rules.model_id])
    for name, truth in (("vendor_id", rules.vendor_id), ("deployment_id", rules.deployment_id)):
        claims = source.words(name)
        plain &= claims.tell([claim is None or claim == truth for claim in claims.words])
    ts, sent, readable = source.instants("timestamp")
    plain &= sent & readable
    bars, given, readable = source.instants("event_time")
    plain &= readable
    bars = np.where(given, bars, ts)
    now = micros(rules.now)
    plain &= bars <= now + micros_of(FUTURE)
    confidence = source.numbers("confidence")
    plain &= (confidence >= 0) & (confidence <= 1)
    seconds = np.array(
        [TIMEFRAME_SECONDS.get(word, 0) if type(word) is str else 0 for word in texts["timeframe"].words]
    )
    late = now > bars + seconds[texts["timeframe"].codes] * _SECOND + micros_of(rules.grace)
    rationale = source.documents("rationale", _is_rationale, plain)
    metadata = source.documents("metadata", _is_metadata, plain)
    return plain, Columns(np.arange(len(items)), bars, ts, confidence, late, texts, rationale, metadata)


def _own(item: Any) -> Any:
    return translate(item) if type(item) is dict and "bar_ts" in item else item


def micros_of(span: timedelta) -> int:
    """A span in microseconds."""
    return span // timedelta(microseconds=1)


def _fits(name: str, word: Any, rules: Rules) -> bool:
    if word is None:
        return name == "model_id"
    if type(word) is not str:
        return False
    if name == "decision":
        return word in _DECISIONS
    if name == "timeframe":
        return word in TIMEFRAME_SECONDS
    if name == "symbol" and rules.symbols is not None and word not in rules.symbols:
        return False
    return _accepts(name, word)


def _accepts(name: str, word: str) -> bool:
    try:
        _ADAPTERS[name].validate_python(word)
    except ValidationError:
        return False
    return True


def _is_rationale(value: Any) -> bool:
    return type(value) is list and len(value) <= _MAX_REASONS and all(type(reason) is str for reason in value)


def _is_metadata(value: Any) -> bool:
    return type(value) is dict and all(type(name) is str for name in value)
