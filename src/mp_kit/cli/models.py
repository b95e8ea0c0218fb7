"""``mp models``: versions and their stages, what they stand on, where they come from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mp_kit.cli.output import Json, emit, say, table
from mp_kit.cli.session import session
from mp_kit.errors import InvalidInputError

if TYPE_CHECKING:
    from mp_kit.contracts import Lineage, ValidationReport, VersionLineage

app = typer.Typer(help="Models and their versions.", no_args_is_help=True, rich_markup_mode=None)

ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="Id or name of the model.")]
VersionName = Annotated[str, typer.Argument(metavar="VERSION", help="The version.")]
Report = Annotated[Path, typer.Option("--report", help="What `mp validate --report` wrote.")]


@app.command("list")
def list_(json: Json = False) -> None:
    """Your models: how many versions each has, and the stage of the most advanced one."""
    rows = [one.model_dump(mode="json") for one in session().models.list()]
    emit(rows, as_json=json, text=lambda: table(rows, ("id", "name", "task", "stage", "versions")))
    if rows and not json:
        say("the versions of one: mp models lineage MODEL")


@app.command("promote")
def promote(
    model: ModelName,
    version: VersionName,
    stage: Annotated[str, typer.Argument(help="shadow, pilot, prod or retired.")],
    why: Annotated[str | None, typer.Option("--why", help="For the history.")] = None,
    json: Json = False,
) -> None:
    """Moves a version to a stage; prod has gates, and the refusal names each that is not met."""
    market = session()
    done = market.models.promote(market.models.find(model).id, version, stage, why)
    emit(done, as_json=json, text=f"{done.version_id} is in {done.stage.value}")


@app.command("validated")
def validated(model: ModelName, version: VersionName, report: Report, json: Json = False) -> None:
    """Stores a validation with a version: the first gate of prod."""
    market = session()
    note = market.models.note_validation(market.models.find(model).id, version, read_report(report))
    emit(note, as_json=json, text=f"{'passed' if note.passed else 'NOT passed'}: {note.digest}")


@app.command("lineage")
def lineage(model: ModelName, json: Json = False) -> None:
    """Run, artifacts, version, gates, deployments, signals: where it comes from and what came of it."""
    market = session()
    found = market.models.lineage(market.models.find(model).id)
    emit(found, as_json=json, text=lambda: _shown(found))


def read_report(path: Path) -> ValidationReport:
    """A validation's report from a file.

    Raises:
        InvalidInputError: The file is not there, or holds no report.
    """
    from pydantic import ValidationError

    from mp_kit.contracts import ValidationReport

    try:
        return ValidationReport.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise InvalidInputError(
            f"{path} holds no validation ({type(error).__name__}).", hint="Make one: mp validate --report report.json"
        ) from None


def _shown(found: Lineage) -> str:
    blocks = ["\n".join(_lines(version)) for version in found.versions]
    return "\n\n".join([f"{found.name} ({found.model_id}, {found.task.value})", *blocks])


def _lines(version: VersionLineage) -> list[str]:
    run = version.run
    made = f"from run {run.run_id} on {run.round_id}, artifacts: {len(run.artifacts)}" if run else "from no run here"
    steps = [f"  {s.at:%Y-%m-%d %H:%M} {s.to_stage.value} by {s.actor}: {s.reason or '-'}" for s in version.history]
    gates = [
        f"  [{'x' if gate.met else ' '}] {gate.name}" + ("" if gate.met else f": {gate.how}") for gate in version.gates
    ]
    served = [
        f"  {d.name} ({d.deployment_id}) is {d.liveness.value}, signals: {d.signals}" for d in version.deployments
    ]
    head = f"{version.version} ({version.version_id}) is in {version.stage.value}, {made}"
    return [head, "history", *steps, "gates of prod", *gates, *(["deployments", *served] if served else [])]
