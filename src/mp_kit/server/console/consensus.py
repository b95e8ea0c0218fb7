"""The consensus: the newest of each symbol, and one of them with its voices and its course."""

from __future__ import annotations

from litestar import Response, get

from mp_kit.contracts import Consensus
from mp_kit.contracts.consensus import Contribution
from mp_kit.server.console.charts import Point
from mp_kit.server.console.pages import page
from mp_kit.server.console.visits import AnyRequest, TheHouse, TheVisit
from mp_kit.server.services import consensus_board

PATH = "/consensus"
_MAX_TEXT = 160
_VOICES = 25


@get(PATH, sync_to_thread=True, include_in_schema=False)
def board(house: TheHouse, visit: TheVisit, request: AnyRequest) -> Response[bytes]:
    """The newest of each symbol and timeframe, and the one that was chosen; what is unknown chooses nothing."""
    symbol, timeframe, method = (request.query_params.get(n, "")[:_MAX_TEXT] for n in ("symbol", "timeframe", "method"))
    with house.db.begin() as tx:
        shown = consensus_board.show(tx, symbol=symbol, timeframe=timeframe, method=method)
    return page(
        visit,
        "consensus.html",
        title="Consensus",
        shown=shown,
        method_names=[
            (one.method, one.method + (f" (by {one.vendor})" if one.vendor else "")) for one in shown.methods
        ],
        points=[Point(f"{step.event_time:%m-%d %H:%M}", step.score, step.decision.lower()) for step in shown.course],
        voices=_voices(shown.bar)[:_VOICES] if shown.bar else [],
    )


def _voices(bar: Consensus) -> list[tuple[str, Contribution]]:
    """Who spoke, the heaviest first."""
    return sorted(bar.contributions.items(), key=lambda item: (-item[1].weight, item[0]))


HANDLERS = [board]
