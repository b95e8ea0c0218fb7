"""Signals: pushing and reading them."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from litestar import Response, get, post
from litestar.params import FromQuery, QueryParameter, RawBody
from sqlalchemy import Row

from mp_kit.contracts import DRY_RUN_HEADER, IDEMPOTENCY_KEY_HEADER, Listing, Signal, StoreResult, Success, Timeframe
from mp_kit.errors import InvalidInputError
from mp_kit.server.edge.auth import allow
from mp_kit.server.edge.bodies import read_rows
from mp_kit.server.edge.parts import AnyRequest, Caller, TheHouse, aware, content_type, listing
from mp_kit.server.services import signals

_BIGINT = 1 << 63


@post(
    "/api/signals/store",
    guards=[allow("deployment", "operator", route="signals:store")],
    status_code=200,
    sync_to_thread=True,
    tags=["signals"],
)
def store(
    house: TheHouse, who: Caller, request: AnyRequest, body: RawBody, atomic: FromQuery[bool] = False
) -> Response[Success[StoreResult]]:
    """Stores a batch of signals exactly once and says what became of each row; 200 only after the commit.

    Under ``X-Marketplace-Dry-Run: true`` all is done and taken back: the answer is the true one, and nothing stays.
    The body is a list of SignalWrite as JSON, one JSON document a line, or an Arrow stream.
    """
    batch = signals.Batch(
        items=read_rows(body, content_type(request)),
        body=body,
        key=request.headers.get(IDEMPOTENCY_KEY_HEADER.lower()),
        atomic=atomic,
    )
    grace = timedelta(seconds=house.settings.late_grace_seconds)
    dry_run = request.headers.get(DRY_RUN_HEADER.lower(), "").lower() in {"1", "true", "yes"}
    with house.db.begin() as tx, tx.begin_nested() as trial:
        outcome = signals.store(tx, who, batch, signer=house.signer, grace=grace)
        if dry_run:
            trial.rollback()
    if not dry_run:
        house.metrics.ingested(outcome.by_status)
    answer: Any = f'{{"success":true,"data":{outcome.json()}}}'.encode()  # as it is: the types are for the docs
    return Response(answer, media_type="application/json")


@get("/api/signals", guards=[allow("vendor", "operator")], sync_to_thread=True, tags=["signals"])
def list_signals(  # noqa: PLR0913 - one argument a filter of the wire
    house: TheHouse,
    who: Caller,
    *,
    symbol: FromQuery[str | None] = None,
    timeframe: FromQuery[Timeframe | None] = None,
    deployment_id: FromQuery[str | None] = None,
    since: Annotated[datetime | None, QueryParameter(name="from")] = None,
    until: Annotated[datetime | None, QueryParameter(name="to")] = None,
    cursor: FromQuery[str | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100,
) -> Listing[list[Signal]]:
    """Stored signals with their attribution, newest bar first: a vendor's own, the operator's all."""
    filters = {
        "vendor_id": who.vendor_id,
        "symbol": symbol,
        "timeframe": timeframe.value if timeframe else None,
        "deployment_id": deployment_id,
        "since": aware("from", since),
        "until": aware("to", until),
        "limit": limit + 1,
        **_open_cursor(cursor),
    }
    with house.db.begin() as tx:
        found = signals.list_page(tx, filters)
    page = found[:limit]
    return listing([signals.to_wire(row) for row in page], _cursor(page[-1]) if len(found) > limit else None)


def _cursor(row: Row[Any]) -> str:
    place = [row.event_time.isoformat(), row.batch_id, row.row_no]
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def _open_cursor(cursor: str | None) -> dict[str, Any]:
    if cursor is None:
        return {"cursor_time": None, "cursor_batch": None, "cursor_row": None}
    try:
        when, batch, row = json.loads(base64.urlsafe_b64decode(cursor))
        place = datetime.fromisoformat(when).astimezone(UTC), int(batch), int(row)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InvalidInputError("The cursor is none of ours: send next_cursor unchanged.") from error
    if not (0 <= place[1] < _BIGINT and 0 <= place[2] < _BIGINT):
        raise InvalidInputError("The cursor is none of ours: send next_cursor unchanged.")
    return {"cursor_time": place[0], "cursor_batch": place[1], "cursor_row": place[2]}
