"""``mp admin webhook``: endpoints of the operator's: for consumers of what is public, and for reports."""

from __future__ import annotations

from typing import Annotated

import typer

from mp_kit.cli.admin_parts import ACTOR, Home, open_house
from mp_kit.cli.output import Json, emit, table
from mp_kit.cli.webhooks import Description, Limit, Overlap, Url, WebhookId, tell_secret

app = typer.Typer(
    help="Endpoints for consumers of consensus.updated and round.published, and for report.finished.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Event = Annotated[
    list[str] | None,
    typer.Option("--event", help="consensus.updated, round.published or report.finished; the first two if left out."),
]
_PUBLIC = ["consensus.updated", "round.published"]
_COLUMNS = ["id", "url", "events", "status", "last_success_at", "disabled_reason"]


@app.command("create")
def create(url: Url, event: Event = None, description: Description = "", home: Home = None, json: Json = False) -> None:
    """Makes an endpoint and prints its id and its secret, which is shown this once."""
    from pydantic import ValidationError

    from mp_kit.client.invalid import invalid
    from mp_kit.contracts import WebhookRequest
    from mp_kit.server.services import webhooks

    try:
        wanted = WebhookRequest.model_validate({"url": url, "events": event or _PUBLIC, "description": description})
    except ValidationError as error:
        raise invalid("This webhook", error) from None
    with open_house(home) as house:
        made = webhooks.create(house.db.begin, house.vault, house.poster.guard, None, wanted, actor=ACTOR)
    tell_secret(made, as_json=json)


@app.command("list")
def list_(home: Home = None, json: Json = False) -> None:
    """Lists the operator's endpoints, oldest first."""
    from mp_kit.server.services import webhooks

    with open_house(home) as house, house.db.begin() as tx:
        found = webhooks.list_of(tx, None)
    emit(found, as_json=json, text=lambda: table([one.model_dump(mode="json") for one in found], _COLUMNS))


@app.command("remove")
def remove(webhook: WebhookId, home: Home = None, json: Json = False) -> None:
    """Removes an endpoint; messages on their way to it are dropped."""
    from mp_kit.server.services import webhooks

    with open_house(home) as house, house.db.begin() as tx:
        gone = webhooks.remove(tx, None, webhook, actor=ACTOR)
    emit(gone, as_json=json, text=f"{gone.id} is removed.")


@app.command("rotate")
def rotate(webhook: WebhookId, overlap_hours: Overlap = 24.0, home: Home = None, json: Json = False) -> None:
    """Gives an endpoint a new secret and prints it, this once."""
    from mp_kit.server.services import webhooks

    with open_house(home) as house, house.db.begin() as tx:
        made = webhooks.rotate(tx, house.vault, None, webhook, actor=ACTOR, overlap_hours=overlap_hours)
    tell_secret(made, as_json=json)


@app.command("test")
def ping(webhook: WebhookId, home: Home = None, json: Json = False) -> None:
    """Has a ping sent; `mp admin webhook deliveries` shows what became of it."""
    from mp_kit.server.services import webhooks

    with open_house(home) as house, house.db.begin() as tx:
        sent = webhooks.ping(tx, None, webhook, actor=ACTOR)
    emit(sent, as_json=json, text=f"{sent.id} is on its way.")


@app.command("enable")
def enable(webhook: WebhookId, home: Home = None, json: Json = False) -> None:
    """Has messages sent again to an endpoint that was disabled."""
    from mp_kit.server.services import webhooks

    with open_house(home) as house, house.db.begin() as tx:
        changed = webhooks.enable(tx, None, webhook, actor=ACTOR)
    emit(changed, as_json=json, text=f"{changed.id} is {changed.status}.")


@app.command("deliveries")
def deliveries(webhook: WebhookId, limit: Limit = 100, home: Home = None, json: Json = False) -> None:
    """Lists an endpoint's messages of the last 30 days, newest first; --json has each one's attempts."""
    from mp_kit.server.services import webhooks

    with open_house(home) as house, house.db.begin() as tx:
        found = webhooks.deliveries(tx, None, webhook, limit=limit)
    columns = ["id", "event_type", "status", "attempts", "created_at", "next_attempt_at"]
    emit(found, as_json=json, text=lambda: table([one.model_dump(mode="json") for one in found], columns))


@app.command("replay")
def replay(
    webhook: WebhookId,
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="Its id among the deliveries: whd_…")],
    home: Home = None,
    json: Json = False,
) -> None:
    """Has a message sent again, under the same webhook-id."""
    from mp_kit.server.services import webhooks

    with open_house(home) as house, house.db.begin() as tx:
        again = webhooks.replay(tx, None, webhook, message, actor=ACTOR)
    emit(again, as_json=json, text=f"{again.id} is on its way again.")
