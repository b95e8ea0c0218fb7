"""``mp connections``: accounts elsewhere. A key never stands on the command line: it would stay in the history."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mp_kit.cli.output import DryRun, Json, emit, say
from mp_kit.cli.session import session
from mp_kit.errors import CredentialError, InvalidInputError, UnavailableError

if TYPE_CHECKING:
    from mp_kit.client.connections import ConnectionView
    from mp_kit.contracts.connections import ConnectionName

app = typer.Typer(help="Accounts elsewhere: set, list, test, remove.", no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(help="runpod, huggingface or wandb.", metavar="NAME")]
_MOST_CHARACTERS = 4_096


@app.command("set")
def set_(
    name: Name,
    value_file: Annotated[Path | None, typer.Option("--value-file", help="Read the key from a file.")] = None,
    from_env: Annotated[
        bool, typer.Option("--from-env", help="Take it from RUNPOD_API_KEY, HF_TOKEN or WANDB_API_KEY.")
    ] = False,
    test: Annotated[bool, typer.Option("--test", help="Then ask the service whether it takes the key.")] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Stores a key with the marketplace: from stdin, a file, the environment, or asked for on a terminal.

    The marketplace seals it and shows no more of it than its last four characters.
    """
    from mp_kit.client.connections import named
    from mp_kit.contracts.connections import check_credential

    known = named(name)
    if value_file is not None and from_env:
        raise typer.BadParameter("--value-file and --from-env exclude each other.")
    value = check_credential(known, _value(known, value_file, from_env=from_env))
    if dry_run:
        what = f"set the {known.value} key that ends in {value[-4:]}"
        emit({"would": what}, as_json=json, text=f"would {what}")
        return
    made = session().connections.set(known, value)
    if test:
        _tell(session().connections.test(known), json=json)
        return
    emit(made, as_json=json)
    say(f"Ask {known.service} whether it takes the key: mp connections test {known.value}")


@app.command("list")
def list_(json: Json = False) -> None:
    """Lists the connections that are set: last four characters, status, when it was checked."""
    emit(session().connections.list(), as_json=json)


@app.command("test")
def ask(name: Name, json: Json = False) -> None:
    """Asks the service whether it takes the key; exit 7 when it refuses, 9 when it does not answer."""
    _tell(session().connections.test(name), json=json)


@app.command("remove")
def remove(name: Name, dry_run: DryRun = False, json: Json = False) -> None:
    """Has the marketplace forget a key."""
    from mp_kit.client.connections import named

    known = named(name)
    if dry_run:
        emit({"would": f"remove {known.value}"}, as_json=json, text=f"would remove {known.value}")
        return
    gone = session().connections.remove(known)
    emit(gone, as_json=json, text=f"{gone.name} (…{gone.last4}) is removed.")


def _tell(tested: ConnectionView, *, json: bool) -> None:
    emit(tested, as_json=json)
    if tested.status == "refused":
        raise CredentialError(tested.detail or "The key is refused.", hint=f"mp connections set {tested.name}")
    if tested.status != "ok":
        raise UnavailableError(tested.detail or "The service did not answer.", hint="Try again later.")


def _value(name: ConnectionName, file: Path | None, *, from_env: bool) -> str:
    if file is not None:
        return _read(file)
    if from_env:
        return _from_env(name)
    if sys.stdin.isatty():
        return getpass.getpass(f"Key of {name.service}: ")
    value = sys.stdin.readline(_MOST_CHARACTERS)
    if not value.strip():
        raise InvalidInputError(
            "No key was given.", hint=f"Pipe it in, or pass --value-file FILE or --from-env ({name.variable})."
        )
    return value


def _read(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as opened:
            return opened.read(_MOST_CHARACTERS)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{file} cannot be read as text ({type(error).__name__}).") from None


def _from_env(name: ConnectionName) -> str:
    value = os.environ.get(name.variable, "")
    if not value:
        raise InvalidInputError(f"{name.variable} is not set.", hint="Export it, or pipe the key in.")
    return value
