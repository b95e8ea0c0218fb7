"""``mp admin sweep`` and ``mp admin vendor ceiling``: the operator's hand on the money."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import typer

from mp_kit.cli.admin_parts import ACTOR, Home, Vendor, open_house
from mp_kit.cli.output import FAILED, OK, Json, emit, say, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mp_kit.server.services.stray_servers import ServerReport, StrayServer
    from mp_kit.server.services.strays import Stray, SweepReport


def sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be ended, and end nothing.")] = False,
    home: Home = None,
    json: Json = False,
) -> int:
    """Ends machines and servers on vendors' accounts that nobody wants, and fetches bills; needs no other process."""
    from mp_kit.server.services import stray_servers, strays

    now = datetime.now(UTC)
    with open_house(home) as house:
        with house.db.begin() as tx:
            accounts = strays.accounts_of(tx, house.providers)
            places = stray_servers.accounts_of(tx, house.hosts)
        report = strays.sweep(house.db, house.providers, accounts, now=now, dry_run=dry_run, actor=ACTOR)
        servers = stray_servers.sweep(house.db, house.hosts, places, now=now, dry_run=dry_run, actor=ACTOR)
        bills = 0 if dry_run else strays.reconcile(house.db, house.providers, now=now)
    facts = {"seen": report.seen, "strays": [asdict(stray) for stray in report.strays], "bills": bills}
    facts["servers"] = {"seen": servers.seen, "strays": [asdict(stray) for stray in servers.strays]}
    unreachable = [*report.unreachable, *servers.unreachable]
    told = f"{_told(report, bills, dry_run)}\n{_servers_told(servers, dry_run)}"
    emit(facts | {"unreachable": unreachable}, as_json=json, text=told)
    for account in unreachable:
        say(f"could not be looked at: {account}")
    left = [stray for found in (report, servers) for stray in found.strays if not stray.ended and not dry_run]
    return FAILED if unreachable or left else OK


def _told(report: SweepReport, bills: int, dry_run: bool) -> str:
    said = f"{report.seen} machines of ours, {len(report.strays)} of them astray; {bills} bills came."
    if not report.strays:
        return said
    return f"{said}\n{_table(report.strays, dry_run, 'provider', 'vendor_id', 'ref', 'run_id')}"


def _servers_told(report: ServerReport, dry_run: bool) -> str:
    said = f"{report.seen} servers of ours, {len(report.strays)} of them astray."
    if not report.strays:
        return said
    return f"{said}\n{_table(report.strays, dry_run, 'provider', 'kind', 'vendor_id', 'ref', 'deployment_id')}"


def _table(strays: Sequence[Stray | StrayServer], dry_run: bool, *columns: str) -> str:
    rows = [{**asdict(stray), "ended": "would be" if dry_run else stray.ended} for stray in strays]
    return table(rows, [*columns, "price_per_hour", "because", "ended"])


def ceiling(
    vendor_name: Vendor,
    usd: Annotated[float | None, typer.Option("--usd", min=0, help="US dollars per calendar month.")] = None,
    none: Annotated[bool, typer.Option("--none", help="Take the ceiling away.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """Bounds what a vendor's runs may cost per calendar month; open runs count with all they may still spend."""
    from mp_kit.server.services import money

    if (usd is None) != none:
        raise typer.BadParameter("Name either --usd AMOUNT or --none.")
    amount = None if usd is None else Decimal(str(usd))
    with open_house(home) as house, house.db.begin() as tx:
        vendor_id = money.set_ceiling(tx, vendor_name, amount, actor=ACTOR)
    facts = {"vendor_id": vendor_id, "monthly_ceiling_usd": usd}
    said = (
        f"{vendor_name} has no ceiling." if usd is None else f"{vendor_name} may spend ${usd:,.2f} per calendar month."
    )
    emit(facts, as_json=json, text=said)
