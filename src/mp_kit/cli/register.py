"""``mp register``: a version of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mp_kit.cli.output import DryRun, IdempotencyKey, Json, emit
from mp_kit.cli.session import session


def register(  # noqa: PLR0913, PLR0917 - each option of the command is an argument
    name: Annotated[str, typer.Option("--name", help="The model's name.")],
    task: Annotated[str, typer.Option("--task", help="signal, consensus or optimizer.")] = "signal",
    version: Annotated[str, typer.Option("--version", help="The version's name.")] = "0.1.0",
    description: Annotated[str, typer.Option("--description", help="For the catalogue.")] = "",
    run_id: Annotated[str | None, typer.Option("--run-id", help="The training run that made it.")] = None,
    deployment: Annotated[str | None, typer.Option("--deployment", help="The deployment that serves it.")] = None,
    hf_repo: Annotated[str | None, typer.Option("--hf-repo", help="Its Hugging Face repository.")] = None,
    report: Annotated[Path | None, typer.Option("--report", help="What `mp validate --report` wrote.")] = None,
    idempotency_key: IdempotencyKey = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Registers a version of a model; the model is made with its first version."""
    from mp_kit.client.models import make_registration

    wanted = make_registration(
        name=name,
        task=task,
        version=version,
        description=description,
        run_id=run_id,
        deployment_id=deployment,
        hf_repo_id=hf_repo,
    )
    if dry_run:
        facts = wanted.model_dump(mode="json", exclude_none=True)
        emit(facts, as_json=json, text=wanted.model_dump_json(indent=2, exclude_none=True))
        return
    from mp_kit.cli.models import read_report

    said = read_report(report) if report is not None else None  # before anything is registered
    market = session()
    made = market.models.submit(wanted, idempotency_key=idempotency_key)
    if said is not None:
        market.models.note_validation(made.model_id, made.version_id, said)
    emit(made, as_json=json)
