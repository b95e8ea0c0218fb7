"""Reading a batch of signals: which rows are good, and what is wrong with the others.

Pure: no I/O. What is decided here is decided before the statement runs, because one bad value kills a whole batch in
the database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from mp_kit.contracts import SignalWrite, translate
from mp_kit.contracts.signal_rules import MAX_ROWS, check_future, extra_json
from mp_kit.errors import AttributionError, InvalidInputError

_BATCH = TypeAdapter(list[SignalWrite])


class Row(NamedTuple):
    """A good row, ready to store; a tuple, because batches have thousands.

    Args:
        row_no: Its place in the batch as sent.
        signal: What it says.
        late: It came too long after its bar to count for scores.
        rationale: JSON text, or None.
        metadata: JSON text, or None.
    """

    row_no: int
    signal: SignalWrite
    late: bool
    rationale: str | None
    metadata: str | None

    @property
    def event_time(self) -> datetime:
        """The bar's instant."""
        instant: datetime = self.signal.bar_time
        return instant


@dataclass(frozen=True)
class Read:
    """A batch as read: good rows, and a sentence for each bad one."""

    good: Sequence[Row]
    bad: Mapping[int, str]


def read_batch(items: Sequence[Any], *, now: datetime, grace: timedelta, symbols: Sequence[str] | None = None) -> Read:
    """Validates rows one by one; a bad one never takes a good one with it.

    Args:
        items: Rows as they came, in any of the three dialects.
        now: When the batch was received.
        grace: How long after its bar's end a signal still counts.
        symbols: The only symbols that the token may speak of; any when None.

    Raises:
        InvalidInputError: The batch is empty or too long.
    """
    if not 1 <= len(items) <= MAX_ROWS:
        raise InvalidInputError(
            f"A batch has 1 to {MAX_ROWS} signals; this one has {len(items)}.",
            hint="Send it in parts: each part is exactly once by itself." if items else "Send at least one.",
        )
    signals, bad = _parse([translate(item) if isinstance(item, Mapping) else item for item in items])
    good: list[Row] = []
    for row_no, signal in signals:
        try:
            good.append(_admit(row_no, signal, now, grace, symbols))
        except ValueError as error:
            bad[row_no] = str(error)
    return Read(good, bad)


def check_claims(good: Sequence[Row], *, vendor_id: str | None, deployment_id: str) -> None:
    """Compares what rows claim of their origin with what the token says.

    Raises:
        AttributionError: A claim contradicts the token; nothing is rewritten silently.
    """
    for row in good:
        for claim, truth, what in (
            (row.signal.vendor_id, vendor_id, "vendor"),
            (row.signal.deployment_id, deployment_id, "deployment"),
        ):
            if claim is not None and claim != truth:
                raise AttributionError(
                    f"Signal {row.row_no} claims another {what} than the token's.",
                    details=[{"loc": [row.row_no, f"{what}_id"], "msg": "contradicts the token"}],
                )


def _parse(items: list[Any]) -> tuple[list[tuple[int, SignalWrite]], dict[int, str]]:
    try:
        return list(enumerate(_BATCH.validate_python(items))), {}
    except ValidationError:
        pass  # some row is bad: find out which, and keep the others
    good: list[tuple[int, SignalWrite]] = []
    bad: dict[int, str] = {}
    for row_no, item in enumerate(items):
        try:
            good.append((row_no, SignalWrite.model_validate(item)))
        except ValidationError as error:
            bad[row_no] = "; ".join(_sentence(finding) for finding in error.errors(include_url=False)[:5])
    return good, bad


def _sentence(finding: Any) -> str:
    place = ".".join(str(part) for part in finding["loc"]) or "row"
    return f"{place}: {finding['msg']}"


def _admit(row_no: int, signal: SignalWrite, now: datetime, grace: timedelta, symbols: Sequence[str] | None) -> Row:
    bar: datetime = signal.bar_time
    check_future(bar, now)
    if symbols is not None and signal.symbol not in symbols:
        msg = f"symbol: the token does not cover {signal.symbol}"
        raise ValueError(msg)
    ends = bar + timedelta(seconds=signal.timeframe.seconds)
    return Row(
        row_no,
        signal,
        late=now > ends + grace,
        rationale=extra_json("rationale", signal.rationale),
        metadata=extra_json("metadata", signal.metadata),
    )
