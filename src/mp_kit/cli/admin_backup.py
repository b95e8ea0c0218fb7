"""``mp admin backup``, ``restore`` and ``verify``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mp_kit.cli.admin_parts import ACTOR, Home, open_house
from mp_kit.cli.output import FAILED, Json, emit, say, table

if TYPE_CHECKING:
    from mp_kit.server.services.checks import Check

_SHOWN = 20
_KEEP = (
    "Not in the backup, keep it elsewhere: {secrets}, or wherever MP_MASTER_KEY, INFRA_TOKEN_PEPPER, MP_SIGNING_SEED"
    " and the others are set. Without them vendors' keys and credentials are lost."
)


def backup(
    where: Annotated[
        str, typer.Argument(metavar="DIR|URL", help="A folder of backups, or s3://bucket/prefix, r2://….")
    ],
    with_objects: Annotated[
        bool | None,
        typer.Option("--with-objects/--no-objects", help="Copy objects too; by default where the store is a folder."),
    ] = None,
    home: Home = None,
    json: Json = False,
) -> int:
    """Backs the marketplace up while it runs: database, objects, a signed manifest; exits 1 if one is missing."""
    from mp_kit.server.services import backup as verbs

    with open_house(home) as house:
        settings = house.settings
        copy = settings.store_url.startswith("file://") if with_objects is None else with_objects
        order = verbs.Order(where, settings.database_url, settings.store_env, copy, datetime.now(UTC), ACTOR)
        made = verbs.make(house.db, house.store, house.signer, order, say)
        keep = _KEEP.format(secrets=settings.home / "secrets.json")
    one = made.backup
    how = "copied" if copy else "listed only"
    rows = [
        {"part": "database", "count": f"{one.rows:,} rows", "bytes": f"{one.dump_bytes:,}"},
        {"part": "objects", "count": f"{one.objects:,} {how}", "bytes": f"{one.object_bytes:,}"},
    ]  # fmt: skip
    facts = {"name": made.name, "where": where, **asdict(one), "problems": list(made.problems)}
    text = f"{table(rows, ['part', 'count', 'bytes'])}\n\n{where.rstrip('/')}/{made.name}"
    emit(facts, as_json=json, text=lambda: "\n".join([text, *_told(made.problems)]))
    say(keep)
    return FAILED if made.problems else 0


def restore(
    where: Annotated[
        str, typer.Argument(metavar="BACKUP", help="A backup's own folder or URL: …/mp-20260131T020000Z.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Throw away what the marketplace holds.")] = False,
    new_secrets: Annotated[
        bool, typer.Option("--new-secrets", help="Make secrets for a home that has none: vendors then need new keys.")
    ] = False,
    home: Home = None,
    json: Json = False,
) -> int:
    """Restores a backup into an empty marketplace where nothing runs, and verifies it; exits 1 when it is broken."""
    from mp_kit.server import restoring

    with restoring.at_rest(home, new_secrets=new_secrets) as house:
        found = restoring.restore(house, where, force=force, actor=ACTOR, say=say)
    return _show(found, as_json=json)


def verify(home: Home = None, json: Json = False) -> int:
    """Verifies a running marketplace: signatures, receipts, objects, credentials; exits 1 when anything is broken."""
    from mp_kit.server.services import checks

    with open_house(home) as house:
        found = checks.everything(house.db, house.store, house.vault)
    return _show(found, as_json=json)


def _show(found: Sequence[Check], *, as_json: bool) -> int:
    broken = [problem for one in found for problem in one.problems]
    facts = {"ok": not broken, "checks": [asdict(one) for one in found]}
    emit(
        facts,
        as_json=as_json,
        text=lambda: "\n".join([table([_row(one) for one in found], ["check", "found", "verdict"]), *_told(broken)]),
    )
    return FAILED if broken else 0


def _row(one: Check) -> dict[str, Any]:
    verdict = "good" if not one.problems else f"{len(one.problems)} broken"
    return {"check": one.name, "found": one.found, "verdict": verdict}


def _told(problems: Sequence[str]) -> list[str]:
    more = [f"… and {len(problems) - _SHOWN} more: --json has them all"] if len(problems) > _SHOWN else []
    return ["", *(f"broken: {one}" for one in problems[:_SHOWN]), *more] if problems else []
