"""``mp admin check``: can this machine do the marketplace's work? For the start of workers, and for drills."""

from __future__ import annotations

from mp_kit.cli.admin_parts import Home, open_house
from mp_kit.cli.output import FAILED, OK, Json, emit, table


def check(home: Home = None, json: Json = False) -> int:
    """Asks whether secrets are strong, the database answers, its schema is the code's, and objects can be reached.

    Exit 0 when all are well: `mp admin check && prefect worker start …` starts no worker that could do nothing.
    """
    from mp_kit.server import strength
    from mp_kit.server.services.readiness import Readiness

    with open_house(home) as house:
        found = Readiness(house.db, house.store).ask()
        weak = strength.weaknesses(house.settings)
    rows = [{"what": part, "state": "ok" if well else found.faults[part]} for part, well in found.checks.items()]
    rows += [{"what": name, "state": fault} for name, fault in weak.items()] or [{"what": "secrets", "state": "ok"}]
    well = all(found.checks.values()) and not weak
    facts = {"ok": well, "schema": found.schema, "checks": {row["what"]: row["state"] for row in rows}}
    emit(facts, as_json=json, text=table(rows, ["what", "state"]))
    return OK if well else FAILED
