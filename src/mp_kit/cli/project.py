"""``mp init``, ``mp dev`` and ``mp validate``: a vendor's project from the first file to a checked server."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mp_kit.cli.output import DryRun, Json, RoundOption, emit, say, table
from mp_kit.errors import InvalidInputError, MarketplaceError, NetworkError, SetupError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mp_kit.contracts.common import Task
    from mp_kit.contracts.validation import ValidationReport
    from mp_kit.serving.window import Windows

_TEMPLATES = "runpod-signal-http, runpod-signal-train, consensus-http or optimizer-http."
Dir = Annotated[Path | None, typer.Option("--dir", help="The project's folder.")]


def init(  # noqa: PLR0913, PLR0917 - a command has as many options as its users need
    template: Annotated[str, typer.Option("--template", help=_TEMPLATES)],
    name: Annotated[str, typer.Option("--name", help="The project's name; made safe for folders.")] = "my-model",
    folder: Annotated[Path | None, typer.Option("--dir", help="Where; ./NAME by default.")] = None,
    model: Annotated[Path | None, typer.Option("--model", help="Folder of a trained model to take along.")] = None,
    symbols: Annotated[str | None, typer.Option("--symbols", help="Optimizer: symbols, with commas.")] = None,
    timeframe: Annotated[str, typer.Option("--timeframe", help="Optimizer: length of its bars.")] = "1h",
    force: Annotated[bool, typer.Option("--force", help="Write over files that are there.")] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Makes a project that runs at once: code, tests, a model, a Dockerfile. Needs no network."""
    from mp_kit.serving.scaffold import TEMPLATES, render, safe_name, write_files

    if template not in TEMPLATES:
        raise InvalidInputError(f"There is no template {template!r}.", hint=f"There are {_TEMPLATES}")
    named = safe_name(name)
    place = folder if folder is not None else Path(named)
    wanted = [part.strip() for part in symbols.split(",")] if symbols else None
    files = render(TEMPLATES[template], named, model=model, symbols=wanted, timeframe=timeframe)
    if not dry_run:
        write_files(place, files, force=force)
    facts = {"name": named, "template": template, "dir": str(place), "files": sorted(files), "written": not dry_run}
    emit(facts, as_json=json, text="\n".join(str(place / path) for path in sorted(files)))
    if not dry_run:
        follow = "python -m pytest && mp dev" if "app.py" in files else "python -m pytest"
        say(f"Next: cd {place} && {follow}")


def dev(
    port: Annotated[int, typer.Option("--port", help="Where it listens.", min=1, max=65535)] = 8000,
    folder: Dir = None,
    json: Json = False,
) -> None:
    """Runs the project's server on this machine, and starts it again whenever a file changes. Ctrl-C ends it."""
    import os
    import signal

    from mp_kit.serving.project import find_project
    from mp_kit.serving.reload import Reloader

    project = find_project(folder or Path.cwd())
    reloader = Reloader(project, port, os.environ, say)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: reloader.stop())
    url = f"http://127.0.0.1:{port}"
    emit({"url": url, "dir": str(project.folder), "task": project.task.value}, as_json=json, text=url)
    reloader.run()


def validate(  # noqa: PLR0913, PLR0917 - same
    url: Annotated[str | None, typer.Option("--url", help="A running server; else the project's is started.")] = None,
    task: Annotated[str | None, typer.Option("--task", help="signal, consensus or optimizer.")] = None,
    folder: Dir = None,
    bars: Annotated[Path | None, typer.Option("--bars", help="File or folder of bars, in place of a round's.")] = None,
    round: RoundOption = "current",  # noqa: A002 - the option's name
    max_p95_ms: Annotated[float, typer.Option("--max-p95-ms", help="Longest p95 of POST /infer.", min=0.001)] = 500.0,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds to wait for an answer.", min=0.1)] = 10.0,
    bearer_env: Annotated[
        str | None, typer.Option("--bearer-env", help="Variable with a token that the server's host asks for.")
    ] = None,
    report_file: Annotated[
        Path | None, typer.Option("--report", help="Write what was found here, for `mp register --report`.")
    ] = None,
    json: Json = False,
) -> None:
    """Checks a server against the inference contract with real bars; exit 5 if a check fails. Leaves no signal."""
    import os

    from mp_kit.serving.caller import Caller
    from mp_kit.serving.project import find_project, running
    from mp_kit.serving.validate import Validator

    project = None if url else find_project(folder or Path.cwd())
    chosen = _task(task) or (project.task if project else None)
    windows = _windows(bars, round)
    bearer = None if bearer_env is None else os.environ.get(bearer_env, "")
    if bearer == "":
        raise SetupError(f"--bearer-env names {bearer_env}, which is not set.")
    with running(project, hear=say) if project else _given(url or "") as address:
        say(f"checking {address} with bars of {windows.label}")
        caller = Caller(address, seconds=timeout, bearer=bearer)
        try:
            report = Validator(caller, address, windows, task=chosen, max_p95_ms=max_p95_ms).run()
        finally:
            caller.close()
    if report_file is not None:
        _write(report_file, report)
    emit(report, as_json=json, text=lambda: _shown(report))
    if not report.passed:
        raise _rejected(report)


@contextmanager
def _given(url: str) -> Iterator[str]:
    if not url.startswith(("http://", "https://")):
        raise InvalidInputError(f"{url!r} is no address of a server.", hint="Pass --url http://127.0.0.1:8000.")
    yield url.rstrip("/")


def _task(text: str | None) -> Task | None:
    from mp_kit.contracts.common import Task

    if text is not None and text not in {task.value for task in Task}:
        raise InvalidInputError(f"There is no task {text!r}.", hint=f"There are {', '.join(Task)}.")
    return None if text is None else Task(text)


def _windows(bars: Path | None, round_id: str) -> Windows:
    """Bars of a file, of the round, or those that were kept when the marketplace was last reached."""
    from mp_kit.cli.session import session
    from mp_kit.serving.window import kept_window, window_of_file, window_of_round

    if bars is not None:
        return window_of_file(bars)
    try:
        return window_of_round(session(), round_id)  # not closed: in a notebook it is the notebook's own
    except (NetworkError, UnavailableError, SetupError) as error:
        if round_id != "current":
            raise
        found = kept_window()
        say(f"no fresh bars ({error.message.rstrip('.')}): those of {found.label} are used, which were kept")
        return found


def _write(path: Path, report: ValidationReport) -> None:
    try:
        path.write_text(report.model_dump_json(indent=2), encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"The report cannot be written to {path} ({type(error).__name__}).") from None


def _shown(report: ValidationReport) -> str:
    rows = [check.model_dump(mode="json") for check in report.checks]
    mends = [f"  {c.where}: {c.what}\n    mend: {c.mend}" for c in report.checks if c.mend]
    counts = [f"{sum(c.status.value == word for c in report.checks)} {word}" for word in ("passed", "warned", "failed")]
    summary = f"{'valid' if report.passed else 'NOT valid'}: {', '.join(counts)}; report {report.digest}"
    parts = [
        table(rows, ("status", "name", "where", "what")),
        *(["", "To mend:", *mends] if mends else []),
        "",
        summary,
    ]
    return "\n".join(parts)


def _rejected(report: ValidationReport) -> MarketplaceError:
    failed = [check for check in report.checks if check.status.value == "failed"]
    return InvalidInputError(
        f"The server breaks the contract: {len(failed)} of {len(report.checks)} checks failed.",
        hint=failed[0].mend,
        details=[{"loc": [check.name, check.where], "msg": check.what} for check in failed],
    )
