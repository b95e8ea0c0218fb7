"""``mp admin``: the operator's verbs, over the same services as everything else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mp_kit.cli import (
    admin_audit,
    admin_backup,
    admin_check,
    admin_consensus,
    admin_identities,
    admin_keys,
    admin_models,
    admin_money,
    admin_privacy,
    admin_reports,
    admin_store,
    admin_vault,
    admin_webhooks,
)
from mp_kit.cli.admin_parts import ACTOR, Home, Vendor, instant, open_house
from mp_kit.cli.output import Json, emit, listed, nested, pairs, say, table, worded
from mp_kit.errors import NotFoundError

if TYPE_CHECKING:
    from mp_kit.server.prefect_api import PrefectApi

app = typer.Typer(help="The operator's verbs.", no_args_is_help=True, rich_markup_mode=None)
vendor = typer.Typer(help="Vendors and their keys.", no_args_is_help=True, rich_markup_mode=None)
round_ = typer.Typer(help="Rounds.", no_args_is_help=True, rich_markup_mode=None)
token = typer.Typer(help="Keys and tokens.", no_args_is_help=True, rich_markup_mode=None)
flow = typer.Typer(help="Flows, through Prefect.", no_args_is_help=True, rich_markup_mode=None)
for _name, _group in {"vendor": vendor, "round": round_, "token": token, "flow": flow}.items():
    app.add_typer(_group, name=_name)
app.add_typer(admin_store.app, name="store")
app.add_typer(admin_vault.app, name="vault")
app.add_typer(admin_webhooks.app, name="webhook")
app.add_typer(admin_consensus.app, name="consensus")
app.add_typer(admin_models.app, name="model")
app.add_typer(admin_reports.app, name="report")
app.command("sweep")(admin_money.sweep)
app.command("audit")(admin_audit.audit)
app.command("check")(admin_check.check)
for _verb in (admin_backup.backup, admin_backup.restore, admin_backup.verify):
    app.command()(_verb)
vendor.command("ceiling")(admin_money.ceiling)
vendor.command("code")(admin_keys.code)
vendor.command("revoke-keys")(admin_keys.revoke_keys)
vendor.command("link")(admin_identities.link)
vendor.command("unlink")(admin_identities.unlink)
vendor.command("accounts")(admin_identities.accounts)
vendor.command("export")(admin_privacy.export)
vendor.command("erase")(admin_privacy.erase)

RoundId = Annotated[str, typer.Argument(help="The round's id.")]
Wait = Annotated[float, typer.Option("--wait", min=1, help="Longest wait for the flow run, in seconds.")]


@contextmanager
def _prefect(home: Path | None) -> Iterator[PrefectApi | None]:
    from mp_kit.server.prefect_api import PrefectApi, known_url

    url = known_url(home)
    api = PrefectApi(url) if url else None
    try:
        yield api if api is not None and api.answers() else None
    finally:
        if api is not None:
            api.close()


@vendor.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Its name; no other has it.")],
    pending: Annotated[bool, typer.Option("--pending", help="It can do nothing until it is activated.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """Creates a vendor; its key is shown this once."""
    import json as codec

    from mp_kit.server.services import vendors

    with open_house(home) as house, house.db.begin() as tx:
        made = vendors.create(tx, house.tokens, name, actor=ACTOR, pending=pending)
    facts = {"vendor_id": made.vendor_id, "api_key": made.api_key}
    emit({**facts, "expires_at": instant(made.expires_at)}, as_json=json, text=codec.dumps(facts))


@vendor.command("list")
def list_vendors(home: Home = None, json: Json = False) -> None:
    """Lists all vendors, oldest first."""
    from mp_kit.server.store import vendors as stored

    with open_house(home) as house, house.db.begin() as tx:
        rows = [
            {"vendor_id": row.id, "name": row.name, "status": row.status, "created_at": instant(row.created_at)}
            for row in stored.list_all(tx)
        ]
    emit(rows, as_json=json, text=lambda: table(rows, ["vendor_id", "name", "status", "created_at"]))


@vendor.command("suspend")
def suspend(vendor_name: Vendor, home: Home = None, json: Json = False) -> None:
    """Locks a vendor out at once, by id or name."""
    _set_status(home, vendor_name, "suspended", as_json=json)


@vendor.command("activate")
def activate(vendor_name: Vendor, home: Home = None, json: Json = False) -> None:
    """Lets a vendor in again, by id or name."""
    _set_status(home, vendor_name, "active", as_json=json)


def _set_status(home: Path | None, named: str, status: str, *, as_json: bool) -> None:
    from mp_kit.contracts import VendorStatus
    from mp_kit.server.services import vendors

    with open_house(home) as house, house.db.begin() as tx:
        found = vendors.named(tx, named)
        vendors.set_status(tx, found.id, VendorStatus(status), actor=ACTOR)
    emit({"vendor_id": found.id, "status": status}, as_json=as_json, text=f"{found.name} is {status}.")


@vendor.command("rotate-key")
def rotate_key(
    vendor_name: Vendor,
    overlap_hours: Annotated[float, typer.Option(min=0, max=720, help="How long the old key lives on.")] = 24,
    home: Home = None,
    json: Json = False,
) -> None:
    """Issues a new key for a vendor; it is shown this once."""
    from datetime import timedelta

    from mp_kit.server.services import vendors

    with open_house(home) as house, house.db.begin() as tx:
        found = vendors.named(tx, vendor_name)
        overlap = timedelta(hours=overlap_hours)
        issued = vendors.rotate(tx, house.tokens, found.id, actor=ACTOR, overlap=overlap)
    facts = issued.model_dump(mode="json")
    emit(facts, as_json=json, text=f"{facts['api_key']}\n")


@round_.command("publish")
def publish(  # noqa: PLR0913, PLR0917 - one parameter per option
    source: Annotated[str, typer.Option(help="`ecb`, or a file, folder, glob or URL of OHLCV bars.")] = "ecb",
    symbols: Annotated[
        list[str] | None,
        typer.Option("--symbols", "--symbol", help="Only these; repeatable, or comma-separated."),
    ] = None,
    timeframe: Annotated[str | None, typer.Option(help="1m 5m 15m 1h 4h 1d; the source's own by default.")] = None,
    horizon: Annotated[int | None, typer.Option(help="Bars that a label looks ahead.")] = None,
    embargo: Annotated[int | None, typer.Option(help="Bars between the last label of a role and the next.")] = None,
    leakage: Annotated[
        str | None,
        typer.Option(help="What to do about features that know their label: reject (publish nothing) or flag."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    no_current: Annotated[bool, typer.Option("--no-current", help="Leave the current round current.")] = False,
    direct: Annotated[bool, typer.Option("--direct", help="Run the steps here, without Prefect.")] = False,
    wait: Wait = 600,
    home: Home = None,
    json: Json = False,
) -> None:
    """Publishes a round of bars; the same input again changes nothing."""
    if source != "ecb" and "://" not in source:
        source = str(Path(source).absolute())  # a flow run works in another folder
    wanted = {
        "source": source,
        "symbols": listed(symbols),
        "timeframe": timeframe,
        "horizon": horizon,
        "embargo": embargo,
    }
    order = {key: value for key, value in {**wanted, "leakage": leakage, "name": name}.items() if value is not None}
    order["make_current"] = not no_current
    with _prefect(home) as prefect:
        if prefect is not None and not direct:
            done = prefect.run("publish-round/publish-round", {"order": order}, seconds=wait, say=say)
        else:
            say("running here, without Prefect")
            done = _publish_here(home, order)
    emit(done, as_json=json, text=lambda: _published(done))


def _publish_here(home: Path | None, order: dict[str, Any]) -> dict[str, Any]:
    from dataclasses import asdict

    from pydantic import ValidationError

    from mp_kit.errors import InvalidInputError
    from mp_kit.server.services import publication

    try:
        checked = publication.RoundOrder.model_validate(order)
    except ValidationError as error:
        found = [{"loc": list(one["loc"]), "msg": one["msg"]} for one in error.errors()]
        raise InvalidInputError("The round's order does not fit.", details=found) from error
    with open_house(home) as house:
        return asdict(publication.run(house.db.begin, house.store, house.signer, checked, actor=ACTOR))


def _published(done: dict[str, Any]) -> str:
    from mp_kit.server.services.publication import sentence

    rows = ", ".join(f"{count:,} of {role}" for role, count in sorted(done["rows"].items()))
    return f"{sentence(done)} {done['input_bars']:,} bars in; rows: {rows}."


@round_.command("list")
def list_rounds(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Rounds at most.")] = 20,
    everything: Annotated[bool, typer.Option("--all", help="Retired ones, too.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """Lists rounds, newest first."""
    from mp_kit.server.services import rounds

    with open_house(home) as house, house.db.begin() as tx:
        found = rounds.listed(tx, limit, retired=everything)
    shown = [one.model_dump(mode="json") | ({"retired_at": at} if everything else {}) for one, at in found]
    columns = ["round_id", "name", "is_current", "created_at", *(["retired_at"] if everything else [])]
    emit(shown, as_json=json, text=lambda: table(shown, columns))


@contextmanager
def _known_round() -> Iterator[None]:
    """The hint of a round that is not there is the vendors'; the operator has another list."""
    try:
        yield
    except NotFoundError as error:
        raise NotFoundError(error.message, hint="See them all: mp admin round list") from error


@round_.command("set-current")
def set_current(round_id: RoundId, home: Home = None, json: Json = False) -> None:
    """Makes a published round the current one."""
    from mp_kit.server.services import rounds

    with open_house(home) as house, house.db.begin() as tx, _known_round():
        found = rounds.set_current(tx, round_id, actor=ACTOR)
    emit({"round_id": found.round_id, "is_current": True}, as_json=json, text=f"{found.round_id} is current.")


@round_.command("retire")
def retire(
    round_id: RoundId,
    force: Annotated[bool, typer.Option("--force", help="The current one, too: then there is none.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """Takes a round out of the lists; its files stay."""
    from mp_kit.server.services import rounds

    with open_house(home) as house, house.db.begin() as tx, _known_round():
        rounds.retire(tx, round_id, actor=ACTOR, force=force)
    emit({"round_id": round_id, "retired": True}, as_json=json, text=f"{round_id} is retired.")


@token.command("revoke")
def revoke(
    token_id: Annotated[str, typer.Argument(help="Its id: the part behind vk_ or sit_.")],
    home: Home = None,
    json: Json = False,
) -> None:
    """Ends a key or a token at once, by its id."""
    from mp_kit.server.services import revocation

    with open_house(home) as house, house.db.begin() as tx:
        ended = revocation.revoke(tx, token_id, actor=ACTOR)
    emit({"token_id": ended, "revoked": True}, as_json=json, text=f"{ended} is revoked.")


@flow.command("run")
def run_flow(
    name: Annotated[str, typer.Argument(help="publish-round, presign-dataset, ingest-signals, report, …")],
    param: Annotated[
        list[str] | None, typer.Option("--param", help="name=value of its order, or part.name=value; repeatable.")
    ] = None,
    wait: Wait = 600,
    home: Home = None,
    json: Json = False,
) -> None:
    """Runs a flow's deployment through Prefect and waits for its result."""
    from mp_kit.errors import UnavailableError

    with _prefect(home) as prefect:
        if prefect is None:
            raise UnavailableError("No Prefect server answers.", hint="Start the marketplace: mp up")
        given = nested(pairs(param or [], "--param"))
        try:
            result = prefect.run(f"{name}/{name}", {"order": given} if given else {}, seconds=wait, say=say)
        except NotFoundError as error:
            raise _no_flow(prefect, name) from error
    emit({"flow": name, "result": result}, as_json=json, text=lambda: worded(result))


def _no_flow(prefect: PrefectApi, name: str) -> NotFoundError:
    """Names the flows that there are."""
    there = sorted({one["name"] for one in prefect.send("POST", "/deployments/filter", {"limit": 200})})
    hint = f"There are: {', '.join(there)}." if there else "None is deployed: `mp up` does it."
    return NotFoundError(f"There is no flow {name!r}.", hint=hint)


@flow.command("automations")
def automate(
    notify_block: Annotated[
        str | None,
        typer.Option(envvar="MP_NOTIFY_BLOCK", help="A notification block in Prefect, told of failed runs: type/name."),
    ] = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """Makes Prefect's automations, or brings them up to date; the flows must be deployed. `mp up` does it by itself."""
    from dataclasses import asdict

    from mp_kit.errors import UnavailableError
    from mp_kit.server import automations

    with _prefect(home) as prefect:
        if prefect is None:
            raise UnavailableError("No Prefect server answers.", hint="Name one: PREFECT_API_URL=http://…/api")
        made = [asdict(one) for one in automations.ensure(prefect, block=notify_block)]
    emit(made, as_json=json, text=lambda: table(made, ["name", "created", "enabled"]))


@app.command("migrate")
def migrate(home: Home = None, json: Json = False) -> None:
    """Brings the database to the newest schema; that of a newer release is left as it is."""
    from mp_kit.server.store import migrate as migrations

    with open_house(home) as house, house.db.begin() as tx:
        before, after = migrations.upgrade(tx)
    left = ", of a newer release: left as it is" if migrations.is_ahead(after) else ""
    emit({"before": before, "after": after}, as_json=json, text=f"revision {before} -> {after}{left}")
