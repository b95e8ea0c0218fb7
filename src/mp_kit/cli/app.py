"""The root of ``mp``: commands that are imported when they are called, and errors that become exit codes."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from mp_kit.cli.output import CANCELLED, FAILED, USAGE, fail, usage
from mp_kit.errors import InternalError, MarketplaceError, MissingExtraError

EPILOG = (
    "Exit codes: 0 ok, 1 failed, 2 usage, 3 auth, 4 not found, 5 rejected by validation, 6 budget, 7 conflict, "
    "8 timeout or still running, 9 network. Completion: mp --install-completion."
)
COMPLETION = ("--install-completion", "--show-completion")


class Lazy(NamedTuple):
    """Where a command lives.

    Args:
        module: Its module; it has ``app`` (a ``typer.Typer``) or the named function.
        attribute: ``app``, or the function.
        help: One line for ``mp --help``.
        extra: The extra that it needs, if any.
    """

    module: str
    attribute: str
    help: str
    extra: str | None = None


COMMANDS: dict[str, Lazy] = {
    "login": Lazy("mp_kit.cli.login", "login", "Check an API key and store it; --device gets one."),
    "logout": Lazy("mp_kit.cli.login", "logout", "Forget the stored key and deployment tokens."),
    "keys": Lazy("mp_kit.cli.keys", "app", "API keys: list, create, rotate, revoke."),
    "config": Lazy("mp_kit.cli.config", "app", "Show or set the profile."),
    "doctor": Lazy("mp_kit.cli.doctor", "doctor", "Check set-up and connection; says what to do."),
    "health": Lazy("mp_kit.cli.market", "health", "How the marketplace is."),
    "data": Lazy("mp_kit.cli.data", "app", "Rounds and their files: list, info, pull."),
    "train": Lazy("mp_kit.cli.train", "app", "Runs: start, list, status, logs, wait, download, stop."),
    "connections": Lazy("mp_kit.cli.connections", "app", "Accounts elsewhere: set, list, test, remove."),
    "init": Lazy("mp_kit.cli.project", "init", "Make a project: an inference server or a training.", "train"),
    "dev": Lazy("mp_kit.cli.project", "dev", "Run the project's server, with reload.", "serve"),
    "validate": Lazy("mp_kit.cli.project", "validate", "Check a server against the contract.", "serve"),
    "webhooks": Lazy("mp_kit.cli.webhooks", "app", "Be told what happens: endpoints and their messages."),
    "deploy": Lazy("mp_kit.cli.hosting", "deploy", "Launch a model's server, on RunPod or here."),
    "deployments": Lazy("mp_kit.cli.hosting", "app", "List, status, logs, ask, poll(s), scale, start, stop, remove."),
    "models": Lazy("mp_kit.cli.models", "app", "Models: list, promote, validated, lineage."),
    "register": Lazy("mp_kit.cli.register", "register", "Register a version of a model."),
    "link-infra": Lazy("mp_kit.cli.deployments", "link_infra", "Make a deployment and keep its token."),
    "heartbeat": Lazy("mp_kit.cli.deployments", "heartbeat", "Send a deployment's sign of life."),
    "signals": Lazy("mp_kit.cli.signals", "app", "Push and list signals."),
    "catalog": Lazy("mp_kit.cli.market", "catalog", "The public catalogue of models."),
    "leaderboard": Lazy("mp_kit.cli.scores", "leaderboard", "Deployments by score, with error bars."),
    "score": Lazy("mp_kit.cli.scores", "score", "Score signals here, as the marketplace would."),
    "consensus": Lazy("mp_kit.cli.consensus", "app", "The blended view of bars: show, history, push."),
    "sandbox": Lazy("mp_kit.cli.sandbox", "sandbox", "Rehearse a month in a minute, offline.", "server"),
    "up": Lazy("mp_kit.cli.up", "up", "Operator: run the embedded marketplace.", "flows"),
    "admin": Lazy("mp_kit.cli.admin", "app", "Operator: vendors, rounds, tokens, migrations.", "server"),
}


def load(name: str) -> Any:
    """Imports a command.

    Raises:
        MissingExtraError: Its packages are not installed.
    """
    lazy = COMMANDS[name]
    try:
        found = getattr(importlib.import_module(lazy.module), lazy.attribute)
    except ModuleNotFoundError as error:
        if lazy.extra is None:
            raise
        raise _missing(name, lazy.extra, error) from error
    if isinstance(found, typer.Typer):
        return get_command(_plain(found))
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name)(found)
    return get_command(single)


def _missing(name: str, extra: str, error: ModuleNotFoundError) -> MissingExtraError:
    return MissingExtraError.for_extra(extra, f"`mp {name}` (it misses {error.name})")


def _plain(app: typer.Typer) -> typer.Typer:
    # Importing rich to draw boxes around help costs more than all the rest of `--help`.
    app.rich_markup_mode = None
    app._add_completion = False  # noqa: SLF001 - only the root offers completion
    app.info.cls = QuickGroup
    for group in app.registered_groups:
        if group.typer_instance is not None:
            _plain(group.typer_instance)
    return app


class QuickGroup(TyperGroup):
    """Parses its own ``--help`` without pydantic, which Typer imports to convert a flag that was not given."""

    def get_help_option(self, ctx: Any) -> Any:
        """Typer's, with a value from the start."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False
        return option


class LazyGroup(QuickGroup):
    """Lists its commands from the table and imports only the one that is called."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature is Typer's
        """The names, in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - the signature is Typer's
        """A stand-in with the table's help line; :meth:`resolve_command` brings the command itself."""
        if cmd_name not in COMMANDS:
            return None
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name].help, callback=None)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Finds and imports the called command."""
        name, stand_in, rest = super().resolve_command(ctx, args)
        if stand_in is None or name is None:
            return name, stand_in, rest
        command = load(name)
        command.name = name
        return name, command, rest


root = typer.Typer(cls=LazyGroup, no_args_is_help=True, rich_markup_mode=None, add_completion=False)


@root.callback(epilog=EPILOG)
def _root() -> None:
    """The marketplace from the shell. Each command takes --help and --json."""


def main(args: list[str]) -> int:
    """Runs a command line.

    Args:
        args: Everything after ``mp``.

    Returns:
        The exit code.
    """
    as_json = "--json" in args
    # Always there, these two options would make Typer import pydantic for each command, `--help` too.
    root._add_completion = args[:1] in [[name] for name in COMPLETION] or "_MP_COMPLETE" in os.environ  # noqa: SLF001
    try:
        result = get_command(root).main(args, prog_name="mp", standalone_mode=False)
        sys.stdout.flush()
    except MarketplaceError as error:
        return fail(error, as_json=as_json)
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("cancelled\n")
        return CANCELLED
    except BrokenPipeError:
        # Whoever read us has left; nothing more can be said, also not while Python shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:  # noqa: BLE001 - the process ends here, and whatever it was is told
        return _unforeseen(error, args, as_json=as_json)
    return result if isinstance(result, int) else 0


def _unforeseen(error: Exception, args: list[str], *, as_json: bool) -> int:
    if (message := getattr(error, "format_message", None)) is not None:
        context = getattr(error, "ctx", None)
        usage(message(), context.get_usage() if context is not None else "", as_json=as_json)
        return USAGE
    lazy = COMMANDS.get(args[0]) if args else None
    extra = lazy.extra if lazy is not None else None
    if isinstance(error, ModuleNotFoundError) and extra and not str(error.name).startswith("mp_kit"):
        return fail(_missing(args[0], extra, error), as_json=as_json)
    traceback.print_exception(error)
    return fail(InternalError(f"`mp` itself failed: {type(error).__name__}."), as_json=as_json)
