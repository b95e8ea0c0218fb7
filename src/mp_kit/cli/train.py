"""``mp train``: training runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mp_kit.cli.output import (
    EXIT_CODES,
    FAILED,
    OK,
    DryRun,
    IdempotencyKey,
    Json,
    RoundOption,
    emit,
    harmless,
    pairs,
    say,
    table,
)
from mp_kit.cli.session import session
from mp_kit.errors import BudgetError

if TYPE_CHECKING:
    from mp_kit.contracts.estimates import Estimate
    from mp_kit.contracts.training import TrainingRequest

app = typer.Typer(help="Training runs.", no_args_is_help=True, rich_markup_mode=None)

RunId = Annotated[str, typer.Argument(help="The run's id.", metavar="RUN_ID")]
Hyper = Annotated[list[str] | None, typer.Option("--hp", help="Hyperparameter name=value; repeatable.")]
_IMAGE_HELP = "Container image in place of the reference trainer's; it must have python -m mp_kit.trainer."


@app.command("start")
def start(  # noqa: PLR0913, PLR0917 - each option of the command is an argument
    task: Annotated[str, typer.Option("--task", help="signal, consensus or optimizer.")] = "signal",
    round: RoundOption = "current",  # noqa: A002 - the option's name
    hp: Hyper = None,
    provider: Annotated[str, typer.Option(help="runpod, byoc or local.")] = "runpod",
    gpu: Annotated[str | None, typer.Option(help="Wanted GPU, such as A100.")] = None,
    max_hours: Annotated[float | None, typer.Option(help="Bound of the run's hours.")] = None,
    max_cost: Annotated[float | None, typer.Option("--max-cost", "--max-cost-usd", help="Bound of its cost.")] = None,
    cpu: Annotated[int | None, typer.Option(help="Virtual CPUs.")] = None,
    memory: Annotated[int | None, typer.Option(help="GiB.")] = None,
    disk: Annotated[int | None, typer.Option(help="GB.")] = None,
    image: Annotated[str | None, typer.Option("--image", "--base-image", help=_IMAGE_HELP)] = None,
    hf_repo: Annotated[str | None, typer.Option("--hf-repo", help="Hugging Face repository for the result.")] = None,
    wandb_project: Annotated[str | None, typer.Option(help="Log to this Weights & Biases project.")] = None,
    idempotency_key: IdempotencyKey = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exit 0 only if it succeeded.")] = False,
    env_file: Annotated[Path | None, typer.Option("--env-file", help="byoc: write the job's environment here.")] = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Starts a training run and prints its id; with --provider byoc the environment to run it with."""
    from mp_kit.client.training import make_request
    from mp_kit.contracts.training import Wandb

    request = make_request(
        task=task,
        round_id=round,
        hyperparams=pairs(hp or [], "--hp"),
        provider=provider,
        gpu=gpu,
        cpu=cpu,
        memory=memory,
        disk=disk,
        base_image=image,
        hf_repo_id=hf_repo,
        wandb=Wandb(enabled=wandb_project is not None, project=wandb_project),
        budget={"max_hours": max_hours, "max_cost_usd": max_cost},
    )
    if dry_run:
        return _quote(session().train.estimate(request), request, as_json=json)
    run = session().train.submit(request, idempotency_key=idempotency_key)
    if request.provider.value == "byoc" and not wait:
        from mp_kit.cli import environments

        environments.started(run, env_file, as_json=json)
        return OK
    if wait:
        say(f"run {run.run_id}")
        with _interruptible(run.run_id):
            run.watch()
    emit(run.record, as_json=json, text=repr(run) if wait else run.run_id)
    return FAILED if run.status.is_final and run.status.value != "succeeded" else OK


def _quote(quoted: Estimate, request: TrainingRequest, *, as_json: bool) -> int:
    """Shows what would be ordered and what it would cost; 6 where the budget would not hold."""
    order = request.model_dump(mode="json", exclude_none=True)
    emit({"order": order, "estimate": quoted.model_dump(mode="json")}, as_json=as_json, text=lambda: _quoted(quoted))
    return OK if quoted.refusal is None else EXIT_CODES[BudgetError]


def _quoted(quoted: Estimate) -> str:
    columns = ("name", "cloud", "stock", "price_per_hour_usd", "worst_case_usd", "fits")
    offers = table([offer.model_dump() for offer in quoted.offers], columns)
    worst = "-" if quoted.worst_case_usd is None else f"${quoted.worst_case_usd:.2f}"
    bound = "none" if quoted.max_cost_usd is None else f"${quoted.max_cost_usd:.2f}"
    lines = [offers, "", f"worst case {worst} for {quoted.max_hours:g} hours; bound {bound}"]
    if quoted.monthly_ceiling_usd is not None:
        lines.append(f"this month ${quoted.committed_usd:.2f} of ${quoted.monthly_ceiling_usd:.2f} committed")
    return "\n".join(
        [*lines, *([f"would be refused: {quoted.refusal}"] if quoted.refusal else ["nothing was ordered"])]
    )


@contextmanager
def _interruptible(run_id: str) -> Iterator[None]:
    """Ctrl-C in the block ends the command with 130, and the run's owner reads that the run goes on."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"stopped waiting; run {run_id} goes on. Again: mp train logs -f {run_id}; end it: mp train stop {run_id}")
        raise


@app.command("list")
def list_(
    status: Annotated[str | None, typer.Option(help="Only these.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 20,
    json: Json = False,
) -> None:
    """Lists your runs, newest first."""
    emit(session().train.list(status, limit), as_json=json)


@app.command("status")
def status(
    run_id: RunId,
    events: Annotated[bool, typer.Option("--events", help="The run's history too.")] = False,
    json: Json = False,
) -> None:
    """Shows a run; with --events what happened to it, when, and why."""
    run = session().train.get(run_id)
    if not events:
        emit(run.record, as_json=json, text=lambda: repr(run))
        return
    told = run.events()
    facts = run.record.model_dump(mode="json") | {"events": [event.model_dump(mode="json") for event in told]}
    emit(facts, as_json=json, text=lambda: f"{run!r}\n\n{told!r}")


@app.command("env")
def env(
    run_id: RunId,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write, mode 0600.")] = None,
    json: Json = False,
) -> None:
    """Prints the environment of a byoc run, with its token, as NAME=value lines."""
    from mp_kit.cli import environments

    environments.hand_over(session().train.get(run_id).environment(), output, as_json=json)


@app.command("logs")
def logs(
    run_id: RunId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    after: Annotated[int, typer.Option(help="Skip the lines before this number.", min=0)] = 0,
    json: Json = False,
) -> None:
    """Prints a run's log; with --json one object per line. Ctrl-C ends the following, not the run."""
    run = session().train.get(run_id)
    with _interruptible(run_id):
        for line in run.follow(after) if follow else run.lines(after):
            sys.stdout.write((line.model_dump_json() if json else harmless(line.text)) + "\n")
            sys.stdout.flush()
    if follow:
        say(f"run {run_id}: {run.refresh().status.value}")


@app.command("wait")
def wait(
    run_id: RunId,
    timeout: Annotated[float | None, typer.Option(help="Seconds; for ever by default.", min=0)] = None,
    json: Json = False,
) -> int:
    """Waits for a run's end: exit 0 succeeded, 1 failed or cancelled, 8 still running."""
    run = session().train.get(run_id)
    with _interruptible(run_id):
        run.wait(timeout)
    emit(run.record, as_json=json, text=lambda: repr(run))
    return OK if run.status.value == "succeeded" else FAILED


@app.command("download")
def download(
    run_id: RunId,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder; runs/<run id> by default.")] = None,
    json: Json = False,
) -> None:
    """Fetches what a run made, verified, and prints the folder, for mp init --model; goes on where it was cut off."""
    files = session().train.get(run_id).download(output)
    folder = files[0].parent
    facts = {"run_id": run_id, "path": str(folder), "files": [file.name for file in files]}
    emit(facts | {"bytes": sum(file.stat().st_size for file in files)}, as_json=json, text=str(folder))


@app.command("stop")
def stop(run_id: RunId, idempotency_key: IdempotencyKey = None, dry_run: DryRun = False, json: Json = False) -> None:
    """Asks a run to stop; harmless to repeat."""
    run = session().train.get(run_id)
    if not dry_run:
        run.cancel(idempotency_key=idempotency_key)
    emit(run.record, as_json=json, text=f"would stop {run.run_id}" if dry_run else repr(run))
