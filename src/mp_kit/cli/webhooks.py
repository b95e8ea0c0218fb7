"""``mp webhooks``: be told what happens. A secret is printed once, when it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mp_kit.cli.output import DryRun, Json, emit, say
from mp_kit.cli.session import session

if TYPE_CHECKING:
    from mp_kit.contracts.webhooks import IssuedWebhook

app = typer.Typer(
    help="Be told what happens: create, list, test, rotate, deliveries, replay, enable, remove.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

WebhookId = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Its id: whe_…")]
Url = Annotated[str, typer.Argument(help="A public https address.", metavar="URL")]
EVENTS = (
    *("signal.stored", "consensus.updated", "run.finished", "round.published", "model.promoted"),
    *("deployment.offline", "deployment.poll_paused", "deployment.poll_resumed", "report.finished"),
)
"""As the contract's enum has them, which a test compares: importing it for --help would cost more than all the rest."""
Event = Annotated[list[str], typer.Option("--event", help=f"{', '.join(EVENTS[:-1])} or {EVENTS[-1]}; repeatable.")]
Description = Annotated[str, typer.Option("--description", help="For people.")]
Overlap = Annotated[
    float, typer.Option("--overlap-hours", min=0, max=720, help="So long messages bear both secrets' signatures.")
]
Status = Annotated[str | None, typer.Option("--status", help="Only pending, delivered or dead ones.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="Messages at most.")]


@app.command("create")
def create(url: Url, event: Event, description: Description = "", json: Json = False) -> None:
    """Makes an endpoint and prints its id and its secret, which is shown this once."""
    tell_secret(session().webhooks.create(url, event, description=description), as_json=json)


@app.command("list")
def list_(json: Json = False) -> None:
    """Lists the endpoints: where to, what, and how each does."""
    emit(session().webhooks.list(), as_json=json)


@app.command("test")
def ping(webhook: WebhookId, json: Json = False) -> None:
    """Has a ping sent; `mp webhooks deliveries` shows what became of it."""
    emit(session().webhooks.test(webhook), as_json=json)


@app.command("rotate")
def rotate(webhook: WebhookId, overlap_hours: Overlap = 24.0, json: Json = False) -> None:
    """Gives an endpoint a new secret and prints it, this once."""
    tell_secret(session().webhooks.rotate(webhook, overlap_hours=overlap_hours), as_json=json)


@app.command("enable")
def enable(webhook: WebhookId, json: Json = False) -> None:
    """Has messages sent again to an endpoint that was disabled."""
    emit(session().webhooks.enable(webhook), as_json=json)


@app.command("remove")
def remove(webhook: WebhookId, dry_run: DryRun = False, json: Json = False) -> None:
    """Removes an endpoint; messages on their way to it are dropped."""
    if dry_run:
        emit({"would": f"remove {webhook}"}, as_json=json, text=f"would remove {webhook}")
        return
    gone = session().webhooks.remove(webhook)
    emit(gone, as_json=json, text=f"{gone.id} is removed.")


@app.command("deliveries")
def deliveries(webhook: WebhookId, status: Status = None, limit: Limit = 100, json: Json = False) -> None:
    """Lists an endpoint's messages of the last 30 days, newest first; --json has each one's attempts."""
    emit(session().webhooks.deliveries(webhook, status=status, limit=limit), as_json=json)


@app.command("replay")
def replay(
    webhook: WebhookId,
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="Its id among the deliveries: whd_…")],
    json: Json = False,
) -> None:
    """Has a message sent again, under the same webhook-id."""
    emit(session().webhooks.replay(webhook, message), as_json=json)


def tell_secret(issued: IssuedWebhook, *, as_json: bool) -> None:
    """Prints an endpoint's id and its new secret."""
    emit(issued.model_dump(mode="json"), as_json=as_json, text=f"{issued.id}\n{issued.secret}")
    say("Keep the secret now: it is not shown again. Receivers check with mp_kit.verify_webhook.")
