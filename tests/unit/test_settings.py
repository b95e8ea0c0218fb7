"""Settings: what wins, what is refused, and that no secret is ever shown."""

from __future__ import annotations

import base64
import dataclasses
import json
import stat
from pathlib import Path

import pytest

from mp_kit.errors import SetupError
from mp_kit.server.settings import (
    SECRET_NAMES,
    SECRETS_FILE,
    STATE_FILE,
    Settings,
    default_home,
    ensure_secrets,
    load,
    write_private,
)

DATABASE = {"MP_DATABASE_URL": "postgresql://mp:do-not-show-me@127.0.0.1/mp"}
SEED = base64.b64encode(bytes(32)).decode()
SECRETS = {name: SEED if name == "MP_SIGNING_SEED" else f"do-not-show-me-{name}" for name in SECRET_NAMES}
ENV = {**DATABASE, **SECRETS}
FIELDS = {
    "INFRA_TOKEN_PEPPER": "token_pepper",
    "MP_JWT_SECRET": "jwt_secret",
    "MP_SIGNING_SEED": "signing_seed",
    "MP_URL_KEY": "url_key",
    "MP_SERVICE_KEY": "service_key",
    "MP_MASTER_KEY": "master_key",
}


def write_home(home: Path, secrets: dict[str, str], state: dict[str, str]) -> None:
    """A home as `mp up` leaves it."""
    (home / SECRETS_FILE).write_text(json.dumps(secrets))
    (home / STATE_FILE).write_text(json.dumps(state))


def test_operators_commands_mean_the_places_of_the_home(tmp_path: Path):
    """What `mp up` had holds for commands over its home; the environment wins; another database has no notes here."""
    write_home(tmp_path, SECRETS, {"database_url": "postgresql://home/mp", "MP_RUNPOD_URL": "http://127.0.0.1:1/v2"})
    assert load(tmp_path, {}).runpod_url == "http://127.0.0.1:1/v2"
    assert load(tmp_path, {"MP_RUNPOD_URL": "https://other/v2"}).runpod_url == "https://other/v2"
    assert load(tmp_path, DATABASE).runpod_url == Settings.runpod_url


def test_no_marketplace_is_told(tmp_path: Path):
    """With the command that starts one."""
    with pytest.raises(SetupError, match="No marketplace is found") as caught:
        load(tmp_path, {})
    assert f"mp up --home {tmp_path}" in caught.value.hint


@pytest.mark.parametrize("name", SECRET_NAMES)
@pytest.mark.parametrize("value", [None, "", "do-not-show-me"])
def test_missing_or_short_secret_is_named_but_not_shown(name: str, value: str | None, tmp_path: Path):
    """What an operator needs to know, and no more."""
    env = {key: text for key, text in {**ENV, name: value}.items() if text is not None}
    with pytest.raises(SetupError, match=f"^{name} is missing or shorter than 16 characters") as caught:
        load(tmp_path, env)
    assert "do-not-show-me" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    "seed",
    [
        "not base64 at all, but long",
        base64.b64encode(b"x" * 31).decode(),
        base64.b64encode(b"x" * 33).decode(),
        "é" * 20,
    ],
    ids=["no base64", "short", "long", "not ASCII"],
)
def test_wrong_seed_is_refused_and_not_shown(seed: str, tmp_path: Path):
    """32 bytes it must be."""
    settings = load(tmp_path, {**ENV, "MP_SIGNING_SEED": seed})
    with pytest.raises(SetupError, match=r"^MP_SIGNING_SEED must be base64 of exactly 32 bytes") as caught:
        _ = settings.signing_seed_bytes
    assert seed not in str(caught.value)


def test_good_seed_is_its_bytes(tmp_path: Path):
    """As they were encoded."""
    assert bytes(32) == load(tmp_path, ENV).signing_seed_bytes


@pytest.mark.parametrize("text", ["{", "[]", '"x"', "\x00"])
@pytest.mark.parametrize("name", [SECRETS_FILE, STATE_FILE])
def test_torn_home_file_is_named(name: str, text: str, tmp_path: Path):
    """By its path; its contents stay out of the sentence."""
    (tmp_path / name).write_text(text)
    with pytest.raises(SetupError, match=name):
        load(tmp_path, ENV)


@pytest.mark.parametrize("value", ["many", "0", "-1", "1.5", "²"])
def test_wrong_number_of_threads_is_refused(value: str, tmp_path: Path):
    """By the variable's name."""
    with pytest.raises(SetupError, match="MP_EDGE_THREADS"):
        load(tmp_path, {**ENV, "MP_EDGE_THREADS": value})


@pytest.mark.parametrize("value", ["https://proxy.example", "https://{pod}.example", "ftp://{pod}-{port}.example"])
def test_wrong_address_of_pods_is_refused(value: str, tmp_path: Path):
    """It must say where the pod and its port come."""
    with pytest.raises(SetupError, match=r"^MP_RUNPOD_PROXY_URL must"):
        load(tmp_path, {**ENV, "MP_RUNPOD_PROXY_URL": value})


def test_address_of_pods_is_a_pattern(tmp_path: Path):
    """A stand-in's, or RunPod's own."""
    given = "http://127.0.0.1:1/proxy/{pod}/{port}"
    assert given == load(tmp_path, {**ENV, "MP_RUNPOD_PROXY_URL": given}).runpod_proxy_url
    assert "https://{pod}-{port}.proxy.runpod.net" == load(tmp_path, ENV).runpod_proxy_url


URLS = {
    "MP_RUNPOD_URL": "runpod_url",
    "HF_ENDPOINT": "huggingface_url",
    "WANDB_BASE_URL": "wandb_url",
    "MP_GITHUB_URL": "github_url",
    "MP_GITHUB_API_URL": "github_api_url",
}


@pytest.mark.parametrize("name", URLS)
@pytest.mark.parametrize("value", ["api.example", "ftp://a", "https://", "https://me:do-not-show-me@a", "http://["])
def test_wrong_url_of_a_service_is_refused_and_not_shown(name: str, value: str, tmp_path: Path):
    """Keys are sent there."""
    with pytest.raises(SetupError, match=f"^{name} must be an http") as caught:
        load(tmp_path, {**ENV, name: value})
    assert "do-not-show-me" not in str(caught.value)


def test_services_have_their_public_addresses_unless_told(tmp_path: Path):
    """Without the slash at the end."""
    settings = load(tmp_path, ENV)
    public = ["https://api.runpod.io/v2", "https://huggingface.co", "https://api.wandb.ai"]
    public += ["https://github.com", "https://api.github.com"]
    assert public == [getattr(settings, field) for field in URLS.values()]
    told = load(tmp_path, {**ENV, **dict.fromkeys(URLS, "http://127.0.0.1:1/x/")})
    assert ["http://127.0.0.1:1/x"] * 5 == [getattr(told, field) for field in URLS.values()]


def test_retired_master_keys(tmp_path: Path):
    """None, or several; none is shown."""
    assert () == load(tmp_path, ENV).retired_master_keys
    settings = load(tmp_path, {**ENV, "MP_MASTER_KEY_RETIRED": " do-not-show-me-1  do-not-show-me-2"})
    assert ("do-not-show-me-1", "do-not-show-me-2") == settings.retired_master_keys
    assert "do-not-show-me" not in repr(settings)


def test_home_is_enough(tmp_path: Path):
    """What `mp up` left there."""
    state = {"database_url": "postgresql://home", "base_url": "http://127.0.0.1:3011/", "allow_local": "1"}
    write_home(tmp_path, SECRETS, state)
    settings = load(tmp_path, {})
    assert ("postgresql://home", "http://127.0.0.1:3011", True) == (
        settings.database_url,
        settings.base_url,
        settings.allow_local,
    )
    assert SECRETS == {name: getattr(settings, field) for name, field in FIELDS.items()}
    assert f"file://{tmp_path / 'objects'}" == settings.store_url


def test_environment_wins_over_the_home(tmp_path: Path):
    """Value by value."""
    write_home(
        tmp_path,
        dict.fromkeys(SECRET_NAMES, "a secret of the home"),
        {"database_url": "postgresql://home", "base_url": "http://home", "allow_local": "1"},
    )
    told = {"INFRA_BASE_URL": "http://env/", "MP_STORE_URL": "file:///env", "MP_ALLOW_LOCAL": "0"}
    settings = load(tmp_path, {**ENV, **told, "MP_EDGE_THREADS": "3"})
    assert (DATABASE["MP_DATABASE_URL"], "http://env", "file:///env", False, 3) == (
        settings.database_url,
        settings.base_url,
        settings.store_url,
        settings.allow_local,
        settings.edge_threads,
    )
    assert SECRETS == {name: getattr(settings, field) for name, field in FIELDS.items()}


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_one_secret_of_the_environment_replaces_one_of_the_home(name: str, tmp_path: Path):
    """The others stay."""
    write_home(tmp_path, SECRETS, {"database_url": "postgresql://home"})
    replaced = {name: "one of the environment"}
    settings = load(tmp_path, replaced)
    assert {**SECRETS, **replaced} == {one: getattr(settings, field) for one, field in FIELDS.items()}


def test_empty_variable_counts_as_absent(tmp_path: Path):
    """As an unset line of an env file leaves it."""
    write_home(tmp_path, SECRETS, {"database_url": "postgresql://home"})
    settings = load(tmp_path, {"MP_DATABASE_URL": "", "MP_URL_KEY": "", "MP_EDGE_THREADS": ""})
    assert ("postgresql://home", SECRETS["MP_URL_KEY"], 8) == (
        settings.database_url,
        settings.url_key,
        settings.edge_threads,
    )


def test_home_comes_from_the_environment_that_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The process's own only where none was."""
    monkeypatch.setenv("MP_HOME", str(tmp_path / "process"))
    assert tmp_path / "given" == load(None, {**ENV, "MP_HOME": str(tmp_path / "given")}).home
    assert tmp_path / "process" == default_home()
    assert tmp_path / "argument" == load(tmp_path / "argument", {**ENV, "MP_HOME": "x"}).home


def test_repr_shows_no_secret(tmp_path: Path):
    """Nor the database's password; each secret field is marked."""
    settings = load(tmp_path, ENV)
    assert "do-not-show-me" not in repr(settings)
    assert SEED not in repr(settings)
    hidden = {field.name for field in dataclasses.fields(Settings) if not field.repr}
    assert {
        "database_url",
        "retired_master_keys",
        "store_env",
        "github_client_secret",
        "smtp_url",
        *FIELDS.values(),
    } == hidden


def test_github_app_without_its_secret_is_refused(tmp_path: Path):
    """At the start, not at the first sign-in; without an app there is nothing to refuse."""
    with pytest.raises(SetupError, match="MP_GITHUB_CLIENT_SECRET is not"):
        load(tmp_path, {**ENV, "MP_GITHUB_CLIENT_ID": "Iv1.app"})
    assert "" == load(tmp_path, {**ENV, "MP_GITHUB_CLIENT_SECRET": "do-not-show-me"}).github_client_id


def test_github_enterprise_is_one_address(tmp_path: Path):
    """Its API lies below it, unless it is said to be elsewhere; the public one has its own host."""
    assert "https://api.github.com" == load(tmp_path, ENV).github_api_url
    own = {**ENV, "MP_GITHUB_URL": "https://git.example/"}
    assert "https://git.example/api/v3" == load(tmp_path, own).github_api_url
    assert (
        "https://api.git.example"
        == load(tmp_path, {**own, "MP_GITHUB_API_URL": "https://api.git.example"}).github_api_url
    )


def test_settings_are_frozen(tmp_path: Path):
    """Nobody changes them on the way."""
    settings = load(tmp_path, ENV)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.base_url = "http://other"  # type: ignore[misc]


def test_secrets_are_made_once(tmp_path: Path):
    """0600, all of them, good ones, and the same after a restart."""
    home = tmp_path / "deep" / "home"
    ensure_secrets(home)
    path = home / SECRETS_FILE
    first = json.loads(path.read_text())
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert set(SECRET_NAMES) == set(first)
    assert len(SECRET_NAMES) == len(set(first.values()))
    assert [32] * len(first) == [len(base64.b64decode(value, validate=True)) for value in first.values()]
    ensure_secrets(home)
    assert first == json.loads(path.read_text())
    assert 32 == len(load(home, DATABASE).signing_seed_bytes)


def test_missing_secret_is_added_and_the_others_kept(tmp_path: Path):
    """A newer release needs one more; what it does not know stays too."""
    kept = {name: value for name, value in SECRETS.items() if name != "MP_MASTER_KEY"} | {"OLD_ONE": "x"}
    write_private(tmp_path / SECRETS_FILE, kept)
    ensure_secrets(tmp_path)
    now = json.loads((tmp_path / SECRETS_FILE).read_text())
    assert kept == {name: value for name, value in now.items() if name != "MP_MASTER_KEY"}
    assert 32 == len(base64.b64decode(now["MP_MASTER_KEY"]))


def test_torn_secrets_are_never_replaced(tmp_path: Path):
    """New ones would make every stored token worthless."""
    (tmp_path / SECRETS_FILE).write_text("{torn")
    with pytest.raises(SetupError):
        ensure_secrets(tmp_path)
    assert "{torn" == (tmp_path / SECRETS_FILE).read_text()


def test_write_private_replaces_an_open_file(tmp_path: Path):
    """By a closed one, and leaves nothing beside it."""
    path = tmp_path / "secrets.json"
    path.write_text("{}")
    path.chmod(0o644)
    write_private(path, {"a": "1"})
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert {"a": "1"} == json.loads(path.read_text())
    assert [path] == list(tmp_path.iterdir())


RUNPOD = [
    ({}, True, 120, ""),
    ({"MP_RUNPOD": "0"}, False, 120, ""),
    ({"MP_RUNPOD_SETTLE_SECONDS": "5", "MP_TRAINER_IMAGE": "mp-trainer:1"}, True, 5, "mp-trainer:1"),
]


@pytest.mark.parametrize(("env", "allowed", "settle", "image"), RUNPOD)
def test_runpod(tmp_path: Path, env: dict[str, str], allowed: bool, settle: int, image: str):
    """RunPod is on offer unless it is turned off; the image has no default, for nobody vouches for one."""
    settings = load(tmp_path, ENV | env)
    found = (settings.allow_runpod, settings.runpod_settle_seconds, settings.trainer_image)
    assert (allowed, settle, image) == found


@pytest.mark.parametrize("value", ["0", "-1", "soon", "1.5"])
def test_runpod_settles_for_whole_seconds(tmp_path: Path, value: str):
    """A settling time of nothing would call new pods absent."""
    with pytest.raises(SetupError, match="MP_RUNPOD_SETTLE_SECONDS"):
        load(tmp_path, ENV | {"MP_RUNPOD_SETTLE_SECONDS": value})


def test_mail_settings(tmp_path: Path):
    """Receivers with commas between; what is no server's URL is refused without showing it."""
    given = {"MP_SMTP_URL": "smtp://me:pw@host:587", "MP_REPORT_EMAIL_TO": "a@x.io, b@x.io"}
    settings = load(tmp_path, {**ENV, **given})
    assert (("a@x.io", "b@x.io"), "smtp://me:pw@host:587") == (settings.report_email_to, settings.smtp_url)
    with pytest.raises(SetupError, match="MP_SMTP_URL") as raised:
        load(tmp_path, {**ENV, "MP_SMTP_URL": "me:secret-word@host"})
    assert "secret-word" not in str(raised.value)


TELLING = [
    ({}, ("text", "info", False, None, "127.0.0.1", "")),
    ({"MP_LOG_FORMAT": "JSON"}, ("json", "info", True, None, "127.0.0.1", "")),
    ({"MP_LOG_FORMAT": "json", "MP_ACCESS_LOG": "0"}, ("json", "info", False, None, "127.0.0.1", "")),
    (
        {"MP_LOG_LEVEL": "debug", "MP_ACCESS_LOG": "1", "MP_METRICS_PORT": "9464", "MP_METRICS_HOST": "0.0.0.0"},  # noqa: S104
        ("text", "debug", True, 9464, "0.0.0.0", ""),  # noqa: S104
    ),
    (
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318/"},
        ("text", "info", False, None, "127.0.0.1", "http://127.0.0.1:4318"),
    ),
]


@pytest.mark.parametrize(("env", "wanted"), TELLING, ids=range(len(TELLING)))
def test_what_is_told_to_the_operator(tmp_path: Path, env: dict[str, str], wanted: tuple[object, ...]):
    """Text and no metrics, unless they are wanted; lines of access where logs are for machines."""
    found = load(tmp_path, ENV | env)
    names = ("log_format", "log_level", "access_log", "metrics_port", "metrics_host", "otel_endpoint")
    assert wanted == tuple(getattr(found, name) for name in names)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MP_LOG_FORMAT", "xml"),
        ("MP_LOG_LEVEL", "loud"),
        ("MP_ACCESS_LOG", "maybe"),
        ("MP_METRICS_PORT", "0"),
        ("MP_METRICS_PORT", "65536"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
    ],
)
def test_wrong_telling_is_refused(tmp_path: Path, name: str, value: str):
    """By the variable's name."""
    with pytest.raises(SetupError, match=name):
        load(tmp_path, ENV | {name: value})
