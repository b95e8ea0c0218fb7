"""Reading a batch of vendors' consensus: which rows are good, and what is wrong with the others. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from pydantic import ValidationError

from mp_kit.contracts import ConsensusWrite
from mp_kit.contracts.signal_rules import MAX_ROWS, check_future, extra_json
from mp_kit.errors import AttributionError, InvalidInputError


class Row(NamedTuple):
    """A good row, ready to store.

    Attributes:
        row_no: Its place in the batch as sent.
        said: What it says.
        late: It came too long after its bar to count for scores.
        contributions: JSON text: of each, what the vendor may say of it.
        rationale: JSON text, or None.
        metadata: JSON text, or None.
    """

    row_no: int
    said: ConsensusWrite
    late: bool
    contributions: str
    rationale: str | None
    metadata: str | None


def read_rows(
    items: Sequence[Any], *, now: datetime, grace: timedelta, symbols: Sequence[str] | None
) -> tuple[list[Row], dict[int, str]]:
    """Validates rows one by one; a bad one never takes a good one with it.

    Args:
        items: Rows as they came.
        now: When the batch was received.
        grace: How long after its bar's end a row still counts.
        symbols: The only symbols that the token may speak of; any when None.

    Returns:
        Good rows, and a sentence for each bad one.

    Raises:
        InvalidInputError: The batch is empty or too long.
    """
    if not 1 <= len(items) <= MAX_ROWS:
        raise InvalidInputError(
            f"A batch has 1 to {MAX_ROWS} rows; this one has {len(items)}.",
            hint="Send it in parts: each part is exactly once by itself." if items else "Send at least one.",
        )
    good: list[Row] = []
    bad: dict[int, str] = {}
    for row_no, item in enumerate(items):
        try:
            good.append(_admit(row_no, ConsensusWrite.model_validate(item), now, grace, symbols))
        except ValidationError as error:
            bad[row_no] = "; ".join(_sentence(finding) for finding in error.errors(include_url=False)[:5])
        except ValueError as error:
            bad[row_no] = str(error)
    return good, bad


def check_claims(good: Sequence[Row], *, vendor_id: str | None, deployment_id: str, model_id: str | None) -> None:
    """Compares what rows claim of their origin with what the token says.

    Raises:
        AttributionError: A claim contradicts the token; nothing is rewritten silently.
    """
    truth = {"vendor_id": vendor_id, "deployment_id": deployment_id, "model_id": model_id}
    for row in good:
        for field, right in truth.items():
            claim = getattr(row.said, field)
            if claim is not None and claim != right:
                raise AttributionError(
                    f"Row {row.row_no} claims another {field.removesuffix('_id')} than the token's.",
                    details=[{"loc": [row.row_no, field], "msg": "contradicts the token"}],
                )


def _admit(row_no: int, said: ConsensusWrite, now: datetime, grace: timedelta, symbols: Sequence[str] | None) -> Row:
    bar: datetime = said.bar_time
    check_future(bar, now)
    if symbols is not None and said.symbol not in symbols:
        msg = f"symbol: the token does not cover {said.symbol}"
        raise ValueError(msg)
    return Row(
        row_no,
        said,
        late=now > bar + timedelta(seconds=said.timeframe.seconds) + grace,
        contributions=extra_json("contributions", _contributions(said)) or "{}",
        rationale=extra_json("rationale", said.rationale),
        metadata=extra_json("metadata", said.metadata),
    )


def _contributions(said: ConsensusWrite) -> Mapping[str, Any]:
    """Whose they are, and what they were worth, only the marketplace can say."""
    return {
        name: part.model_dump(mode="json", include={"decision", "weight", "confidence"}, exclude_none=True)
        for name, part in said.contributions.items()
    }


def _sentence(finding: Any) -> str:
    place = ".".join(str(part) for part in finding["loc"]) or "row"
    return f"{place}: {finding['msg']}"
