"""Receipts of signals: what anybody needs to check a deployment's chain."""

from __future__ import annotations

import base64
import json
from typing import Annotated, Any

from litestar import get
from litestar.params import FromQuery, QueryParameter
from sqlalchemy import Row

from mp_kit.contracts import Listing
from mp_kit.contracts.receipts import BatchReceipt
from mp_kit.errors import InvalidInputError
from mp_kit.server.edge.auth import allow
from mp_kit.server.edge.parts import Caller, TheHouse, listing
from mp_kit.server.services import receipts

_BIGINT = 1 << 63


@get("/api/signals/receipts", guards=[allow("vendor", "operator")], sync_to_thread=True, tags=["signals"])
def list_receipts(
    house: TheHouse,
    who: Caller,
    *,
    deployment_id: FromQuery[str | None] = None,
    cursor: FromQuery[str | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100,
) -> Listing[list[BatchReceipt]]:
    """Signed receipts of stored batches, each deployment's from its first one: a vendor's own, the operator's all.

    A receipt's ``payload`` is the signed bytes; ``batch`` in it is the middle part of its signals' ids.
    """
    after_deployment, after_seq = _open_cursor(cursor)
    filters = {
        "vendor_id": who.vendor_id,
        "deployment_id": deployment_id,
        "after_deployment": after_deployment,
        "after_seq": after_seq,
        "limit": limit + 1,
    }
    with house.db.begin() as tx:
        found = receipts.list_page(tx, filters)
    page = found[:limit]
    return listing([receipts.to_wire(row) for row in page], _cursor(page[-1]) if len(found) > limit else None)


def _cursor(row: Row[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps([row.deployment_id, row.seq]).encode()).decode()


def _open_cursor(cursor: str | None) -> tuple[str, int]:
    if cursor is None:
        return "", 0
    try:
        deployment_id, seq = json.loads(base64.urlsafe_b64decode(cursor))
        good = isinstance(deployment_id, str) and deployment_id.isprintable() and 0 <= int(seq) < _BIGINT
    except (ValueError, TypeError, OverflowError, RecursionError):
        good = False
    if not good:
        raise InvalidInputError("The cursor is none of ours: send next_cursor unchanged.")
    return deployment_id, int(seq)
