"""A vendor with something in every table that vendors own: ids and texts bear its mark, so that a leak is seen."""

from __future__ import annotations

import random
from pathlib import Path

from sqlalchemy import text

from bench import pages_world
from mp_kit.server.store.engine import Tx
from tests.support.desks import publish

_STATEMENTS = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").partition("\n")[2]


def furnish_all(tx: Tx, mark: str, number: int, stage: str = "shadow") -> None:
    """Gives a new vendor a row everywhere.

    Args:
        tx: The operator's transaction.
        mark: Its id, and what its other ids begin with and its texts are.
        number: Of its batches; nobody else's.
        stage: Of its model's version.
    """
    publish(tx)
    near = pages_world._near(0.0).model_dump_json()
    card = pages_world._card(random.Random(number)).model_dump_json()
    given = {"v": mark, "n": number, "stage": stage, "card": card}
    given |= {"standing": f'{{"contribution": {near}, "mmc": {near}}}'}
    given |= {"spec": '{"round_id": "rnd_desk", "task": "signal"}'}
    for statement in _STATEMENTS.split(";\n"):
        if statement.strip():
            tx.execute(text(statement.replace(":v", "CAST(:v AS text)")), given)
