"""The root: help everywhere, fast starts, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from mp_kit import errors
from mp_kit.cli import app
from mp_kit.cli.output import EXIT_CODES, exit_code, fail, plain
from mp_kit.version import __version__

HEAVY = ("httpx", "pydantic", "pandas", "pyarrow", "rich", "urllib3", "numpy", "cryptography")
LEAVES = [
    ["--help"],
    *(
        [name, *verb, "--help"]
        for name, verbs in {
            "login": [[]],
            "config": [[], ["show"], ["set"]],
            "doctor": [[]],
            "health": [[]],
            "data": [[], ["list"], ["info"], ["pull"]],
            "train": [[], ["start"], ["list"], ["status"], ["logs"], ["wait"], ["stop"]],
            "register": [[]],
            "link-infra": [[]],
            "heartbeat": [[]],
            "signals": [[], ["push"], ["list"]],
            "catalog": [[]],
            "consensus": [[], ["show"], ["history"], ["push"]],
        }.items()
        for verb in verbs
    ),
]


def mp(*args: str) -> subprocess.CompletedProcess[str]:
    """A process of its own, without proxies or a home."""
    command = [sys.executable, "-m", "mp_kit.cli.main", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("args", LEAVES, ids=" ".join)
def test_help_of_each_command(args: list[str], capsys: pytest.CaptureFixture[str]):
    """Each command has help, and offers --json unless it only groups."""
    assert 0 == app.main(args)
    out = capsys.readouterr().out
    assert "Usage: mp" in out
    assert "--json" in out or "COMMAND" in out


def test_help_names_each_command_with_a_line(capsys: pytest.CaptureFixture[str]):
    """The table is what help shows, operator commands too."""
    app.main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert all(f"{name} {lazy.help}" in shown for name, lazy in app.COMMANDS.items())


def test_version_prints_and_imports_nothing():
    """Before Typer is imported."""
    code = "import sys; sys.argv = ['mp', '--version']\nfrom mp_kit.cli.main import run\ntry:\n run()\nfinally:\n"
    found = subprocess.run(
        [sys.executable, "-c", code + " print('typer' in sys.modules)"], capture_output=True, text=True, check=True
    )
    assert [f"mp {__version__}", "False"] == found.stdout.split("\n")[:2]


@pytest.mark.parametrize("args", [["--help"], ["data", "--help"], ["data", "pull", "--help"], ["train", "--help"]])
def test_help_imports_nothing_heavy(args: list[str]):
    """What makes help slow is what it must not import."""
    code = (
        f"import sys; from mp_kit.cli.app import main; code = main({args!r});"
        f"print(code, sorted(set({HEAVY!r}) & set(sys.modules)),"
        " any(name.startswith('mp_kit.server') for name in sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "0 [] False" == found.stdout.strip().splitlines()[-1]


def test_process_ends_with_the_exit_code():
    """The process, not only the function."""
    done = mp("nope", "--json")
    assert (2, "") == (done.returncode, done.stdout)
    assert "usage" == json.loads(done.stderr.splitlines()[-1])["error"]["code"]


@pytest.mark.parametrize("cls", sorted(errors.BY_CODE.values(), key=lambda cls: cls.code))
def test_exit_code_of_each_error(cls: type[errors.MarketplaceError]):
    """One of the documented ones, never the HTTP status."""
    assert exit_code(cls("x")) in {1, 3, 4, 5, 6, 7, 8, 9}


@pytest.mark.parametrize(
    ("cls", "code"),
    [
        (errors.TokenExpiredError, 3),
        (errors.AttributionError, 3),
        (errors.NoCurrentRoundError, 4),
        (errors.BarsError, 5),
        (errors.BudgetError, 6),
        (errors.IdempotencyError, 7),
        (errors.TimeoutExceededError, 8),
        (errors.NetworkError, 9),
        (errors.IntegrityError, 1),
    ],
)
def test_exit_code_follows_the_tree(cls: type[errors.MarketplaceError], code: int):
    """A child has its parent's unless it is listed."""
    assert code == exit_code(cls("x"))
    assert 1 == EXIT_CODES[errors.MarketplaceError]


def test_fail_tells_details_hint_and_request(capsys: pytest.CaptureFixture[str]):
    """For people and for machines."""
    error = errors.InvalidInputError("Bad.", hint="Mend.", details=[{"loc": ["a", 1], "msg": "m"}], request_id="r")
    fail(error, as_json=False)
    assert "error: Bad.\n  a.1: m\nhint: Mend.\nrequest: r\n" == capsys.readouterr().err
    fail(error, as_json=True)
    told = json.loads(capsys.readouterr().err)["error"]
    assert ("invalid_input", "Bad.", "Mend.", "r") == (told["code"], told["message"], told["hint"], told["request_id"])


def test_missing_extra_names_the_install_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Operator commands need the server's packages."""
    monkeypatch.setitem(app.COMMANDS, "up", app.Lazy("mp_kit.cli.not_there", "up", "x", "server"))
    assert 1 == app.main(["up", "--json"])
    told = json.loads(capsys.readouterr().err)["error"]
    assert ("missing_extra", "pip install 'mp-kit[server]'") == (told["code"], told["hint"])


def test_broken_pipe_is_quiet():
    """``mp … | head`` ends without a traceback."""
    command = f"{sys.executable} -m mp_kit.cli.main --help | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


def test_own_failure_is_told_as_json_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """The traceback for us, the last line for machines."""
    monkeypatch.setitem(app.COMMANDS, "up", app.Lazy("mp_kit.cli.output", "not_there", "x"))
    assert 1 == app.main(["up", "--json"])
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "internal" == json.loads(err.splitlines()[-1])["error"]["code"]


def test_plain_turns_no_numbers_into_null():
    """JSON has no NaN."""
    assert {"a": [None, 1.0], "b": None} == plain({"a": [float("nan"), 1.0], "b": float("inf")})


@pytest.mark.parametrize("args", [[], ["train"]], ids=["mp", "mp train"])
def test_no_command_shows_the_help_once(args: list[str], capsys: pytest.CaptureFixture[str]):
    """Without an error before it: nothing went wrong, the commands were asked for."""
    assert 2 == app.main(args)
    told = capsys.readouterr().err
    assert (1, 0) == (told.count("Usage: mp"), told.count("error:"))
