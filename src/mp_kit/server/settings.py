"""One frozen ``Settings``, read from the environment and, for an embedded marketplace, from its home folder.

Rules:

1. Only :mod:`mp_kit.server.wiring` reads settings; everything else gets what it needs as an argument.
2. The environment wins over the home's ``secrets.json`` (0600) and ``state.json``, where `mp up` notes what it had.
3. A secret is never shown: its field has no repr, and errors name the variable, never the value.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import platformdirs

from mp_kit.errors import SetupError
from mp_kit.server import settings_values as values
from mp_kit.server.providers.mail import check_url
from mp_kit.server.rates import DEFAULTS, Limit, parse

SECRETS_FILE = "secrets.json"
STATE_FILE = "state.json"
_SECRET_BYTES = 32
_MIN_SECRET_CHARS = 16
_MAX_PORT = 65_535
_LEAST_AUDIT_DAYS = 30

SECRET_NAMES = (
    "INFRA_TOKEN_PEPPER",
    "MP_JWT_SECRET",
    "MP_SIGNING_SEED",
    "MP_URL_KEY",
    "MP_SERVICE_KEY",
    "MP_MASTER_KEY",
)
"""Secrets that a marketplace cannot run without; `mp up` makes them for its home."""

STORE_NAMES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "CLOUDFLARE_R2_ACCESS_KEY",
    "CLOUDFLARE_R2_SECRET_KEY",
    "CLOUDFLARE_R2_ACCOUNT_ID",
)
"""What a store in S3 or R2 takes from the environment (:mod:`mp_kit.server.storage.access`)."""


NOTED_NAMES = (
    "MP_STORE_URL",
    "MP_RUNPOD",
    "MP_RUNPOD_URL",
    "MP_RUNPOD_PROXY_URL",
    "MP_RUNPOD_SETTLE_SECONDS",
    "MP_TRAINER_IMAGE",
    "HF_ENDPOINT",
    "WANDB_BASE_URL",
    "MP_WEBHOOK_ALLOW_PRIVATE",
    "MP_GITHUB_URL",
    "MP_LIMITS",
    "MP_TRUSTED_PROXIES",
)
"""No secrets: what `mp up` notes in its home, so that the operator's commands over that home mean the same places."""


@dataclass(frozen=True)
class Settings:
    """Everything configurable about the operator's side.

    Args:
        home: Folder of the embedded marketplace's state; the user's data folder by default (MP_HOME).
        database_url: ``postgresql://…`` of the marketplace's database, as its tables' owner (MP_DATABASE_URL); `mp up`
            brings its own.
        base_url: Where outsiders reach the edge, without a trailing slash (INFRA_BASE_URL).
        store_url: Where objects lie: ``file://``, ``s3://`` or ``r2://``; the home's folder by default (MP_STORE_URL).
        token_pepper: Mixed into every token hash (INFRA_TOKEN_PEPPER).
        jwt_secret: Signs run tokens and sessions (MP_JWT_SECRET).
        signing_seed: Base64 of the 32 bytes that sign manifests (MP_SIGNING_SEED).
        url_key: Signs URLs of the local store (MP_URL_KEY).
        service_key: The operator's own bearer token (MP_SERVICE_KEY).
        master_key: Wraps vendors' credentials (MP_MASTER_KEY).
        retired_master_keys: Former ones, which still unwrap (MP_MASTER_KEY_RETIRED, several with spaces between).
        audit_days: How long entries of the audit log are kept; 0 is for ever (MP_AUDIT_DAYS).
        edge_threads: Handlers that run at once, and database connections of the edge (MP_EDGE_THREADS).
        allow_local: Vendors may train on the operator's machine, as `mp up` has it (MP_ALLOW_LOCAL).
        max_body_bytes: Largest body that the edge reads.
        late_grace_seconds: A signal older than its bar's end by more than this is late.
        store_env: Keys and endpoint of the object store, by their own names (AWS_…, CLOUDFLARE_R2_…).
        runpod_url: Root of RunPod's REST API, version 2 (MP_RUNPOD_URL).
        runpod_proxy_url: Public address of a pod's port, with {pod} and {port} in it (MP_RUNPOD_PROXY_URL).
        allow_runpod: Vendors may train on their RunPod accounts; 0 turns that off (MP_RUNPOD).
        runpod_settle_seconds: Below this age a pod that is not seen is not called absent (MP_RUNPOD_SETTLE_SECONDS).
        trainer_image: Docker image with mp-kit in it, for pods whose order names none (MP_TRAINER_IMAGE).
        huggingface_url: Root of the Hugging Face Hub (HF_ENDPOINT).
        wandb_url: Root of the Weights & Biases API (WANDB_BASE_URL).
        webhook_allow_private: URLs of vendors, to send webhooks to or to ask, may lead to loopback and private
            networks, and over http: for rehearsals (MP_WEBHOOK_ALLOW_PRIVATE).
        poll_calls_per_day: Calls of a vendor's deployments in a day (MP_POLL_CALLS_PER_DAY).
        poll_seconds_per_day: Seconds of waiting for their answers (MP_POLL_SECONDS_PER_DAY).
        github_client_id: Of the OAuth app with which vendors sign in; nobody does where it is empty
            (MP_GITHUB_CLIENT_ID).
        github_client_secret: Its secret (MP_GITHUB_CLIENT_SECRET).
        github_url: Root of GitHub's pages (MP_GITHUB_URL).
        github_api_url: Root of its API (MP_GITHUB_API_URL); of an Enterprise server ``/api/v3`` below its pages.
        smtp_url: ``smtp(s)://[user:password@]host[:port]``, where mails leave (MP_SMTP_URL).
        report_email_to: Who gets reports and news of failed runs (MP_REPORT_EMAIL_TO, several with commas between).
        report_email_from: The sender of mails (MP_REPORT_EMAIL_FROM); made of MP_SMTP_URL where left out.
        limits: How often somebody may ask, by name: ``off``, or changes such as ``writes=600/min, public=off``; else
            those of docs/wire.md hold (MP_LIMITS).
        trusted_proxies: Addresses and networks whose X-Forwarded-For is believed (MP_TRUSTED_PROXIES, several with
            commas between).
        log_format: ``text`` for terminals, ``json`` for machines: one object a line (MP_LOG_FORMAT).
        log_level: What mp-kit's own loggers tell of: debug, info, warning, error (MP_LOG_LEVEL).
        access_log: The edge logs a line a request; 0 or 1, by default 1 where logs are JSON (MP_ACCESS_LOG).
        metrics_port: Port of the edge's Prometheus metrics; none where it is empty (MP_METRICS_PORT).
        metrics_host: Address on which they are served; whoever reaches it reads them (MP_METRICS_HOST).
        otel_endpoint: Root of an OTLP receiver that gets traces over HTTP, such as ``http://127.0.0.1:4318``; none
            where it is empty (OTEL_EXPORTER_OTLP_ENDPOINT).
        edge_database_url: The same database for the edge and the console, with a login in the role ``mp_edge``
            (MP_EDGE_DATABASE_URL); MP_DATABASE_URL's own where left out, which then must be allowed to take that role.
    """

    home: Path
    database_url: str = field(repr=False)
    base_url: str
    store_url: str
    token_pepper: str = field(repr=False)
    jwt_secret: str = field(repr=False)
    signing_seed: str = field(repr=False)
    url_key: str = field(repr=False)
    service_key: str = field(repr=False)
    master_key: str = field(repr=False)
    retired_master_keys: tuple[str, ...] = field(default=(), repr=False)
    audit_days: int = 1_095
    edge_threads: int = 8
    allow_local: bool = False
    max_body_bytes: int = 64 * 1024 * 1024
    late_grace_seconds: float = 300.0
    store_env: Mapping[str, str] = field(default_factory=dict, repr=False)
    runpod_url: str = "https://api.runpod.io/v2"
    runpod_proxy_url: str = "https://{pod}-{port}.proxy.runpod.net"
    allow_runpod: bool = True
    runpod_settle_seconds: int = 120
    trainer_image: str = ""
    huggingface_url: str = "https://huggingface.co"
    wandb_url: str = "https://api.wandb.ai"
    webhook_allow_private: bool = False
    poll_calls_per_day: int = 20_000
    poll_seconds_per_day: int = 7_200
    github_client_id: str = ""
    github_client_secret: str = field(default="", repr=False)
    github_url: str = "https://github.com"
    github_api_url: str = "https://api.github.com"
    smtp_url: str = field(default="", repr=False)
    report_email_to: tuple[str, ...] = ()
    report_email_from: str = ""
    limits: Mapping[str, Limit] = field(default_factory=lambda: dict(DEFAULTS))
    trusted_proxies: tuple[str, ...] = ()
    log_format: Literal["json", "text"] = "text"
    log_level: str = "info"
    access_log: bool = False
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"
    otel_endpoint: str = ""
    edge_database_url: str = field(default="", repr=False)

    @property
    def signing_seed_bytes(self) -> bytes:
        """The 32 raw bytes of the signing key.

        Raises:
            SetupError: MP_SIGNING_SEED is not base64 of 32 bytes.
        """
        try:
            seed = base64.b64decode(self.signing_seed, validate=True)
        except ValueError:
            seed = b""
        if len(seed) != _SECRET_BYTES:
            raise SetupError("MP_SIGNING_SEED must be base64 of exactly 32 bytes.")
        return seed


def default_home(env: Mapping[str, str] | None = None) -> Path:
    """The home that commands use when none is named: MP_HOME, else the user's data folder."""
    named = (os.environ if env is None else env).get("MP_HOME")
    return Path(named) if named else Path(platformdirs.user_data_dir("mp"))


def load(home: Path | None = None, env: Mapping[str, str] | None = None) -> Settings:
    """Reads the settings.

    Args:
        home: The embedded marketplace's folder; :func:`default_home` when None.
        env: The environment; the process's own when None.

    Raises:
        SetupError: No marketplace is found, or a secret is missing or too short.
    """
    env = os.environ if env is None else env
    home = (home or default_home(env)).absolute()
    state = read_json(home / STATE_FILE)
    if not env.get("MP_DATABASE_URL"):  # the home's notes are about the home's own database
        env = {**{name: state[name] for name in NOTED_NAMES if name in state}, **env}
    kept = read_json(home / SECRETS_FILE)
    url = env.get("MP_DATABASE_URL") or state.get("database_url")
    if not url:
        raise SetupError(
            f"No marketplace is found: MP_DATABASE_URL is not set and none runs over {home}.",
            hint=f"Start one: mp up --home {home}",
        )
    own = {name: secret_of(name, env, kept) for name in SECRET_NAMES}
    return Settings(
        home=home,
        database_url=url,
        base_url=(env.get("INFRA_BASE_URL") or state.get("base_url") or "http://127.0.0.1:3010").rstrip("/"),
        store_url=env.get("MP_STORE_URL") or f"file://{home / 'objects'}",
        token_pepper=own["INFRA_TOKEN_PEPPER"],
        jwt_secret=own["MP_JWT_SECRET"],
        signing_seed=own["MP_SIGNING_SEED"],
        url_key=own["MP_URL_KEY"],
        service_key=own["MP_SERVICE_KEY"],
        master_key=own["MP_MASTER_KEY"],
        retired_master_keys=retired_keys(env, kept),
        audit_days=_audit_days(env),
        edge_threads=values.count("MP_EDGE_THREADS", env, 8),
        allow_local=env.get("MP_ALLOW_LOCAL", state.get("allow_local", "")) in {"1", "true"},
        store_env={name: env[name] for name in STORE_NAMES if env.get(name)},
        runpod_url=values.url("MP_RUNPOD_URL", env, Settings.runpod_url),
        runpod_proxy_url=values.pattern("MP_RUNPOD_PROXY_URL", env, Settings.runpod_proxy_url),
        allow_runpod=env.get("MP_RUNPOD", "1") not in {"0", "false"},
        runpod_settle_seconds=values.count("MP_RUNPOD_SETTLE_SECONDS", env, Settings.runpod_settle_seconds),
        trainer_image=env.get("MP_TRAINER_IMAGE", ""),
        huggingface_url=values.url("HF_ENDPOINT", env, Settings.huggingface_url),
        wandb_url=values.url("WANDB_BASE_URL", env, Settings.wandb_url),
        webhook_allow_private=env.get("MP_WEBHOOK_ALLOW_PRIVATE", "") in {"1", "true"},
        poll_calls_per_day=values.count("MP_POLL_CALLS_PER_DAY", env, Settings.poll_calls_per_day),
        poll_seconds_per_day=values.count("MP_POLL_SECONDS_PER_DAY", env, Settings.poll_seconds_per_day),
        **_github(env),
        smtp_url=check_url(env["MP_SMTP_URL"]) if env.get("MP_SMTP_URL") else "",
        report_email_to=tuple(env.get("MP_REPORT_EMAIL_TO", "").replace(",", " ").split()),
        report_email_from=env.get("MP_REPORT_EMAIL_FROM", ""),
        limits=parse(env.get("MP_LIMITS", "")),
        trusted_proxies=values.networks("MP_TRUSTED_PROXIES", env),
        **_telling(env),
        edge_database_url=env.get("MP_EDGE_DATABASE_URL") or _homes_edge(env, state),
    )


def is_embedded(home: Path, env: Mapping[str, str] | None = None) -> bool:
    """Whether the marketplace over a home is one that `mp up` runs: it notes there where its Prefect is.

    Raises:
        SetupError: The home's state cannot be read.
    """
    env = os.environ if env is None else env
    return not env.get("MP_DATABASE_URL") and "prefect_api_url" in read_json(home / STATE_FILE)


def retired_keys(env: Mapping[str, str], kept: Mapping[str, str]) -> tuple[str, ...]:
    """Former master keys, of the environment or else of a home's secrets."""
    return tuple((env.get("MP_MASTER_KEY_RETIRED") or kept.get("MP_MASTER_KEY_RETIRED") or "").split())


def _audit_days(env: Mapping[str, str]) -> int:
    value = env.get("MP_AUDIT_DAYS") or str(Settings.audit_days)
    if not value.isascii() or not value.isdecimal() or 0 < int(value) < _LEAST_AUDIT_DAYS:
        raise SetupError(f"MP_AUDIT_DAYS must be 0 (for ever) or a whole number of at least {_LEAST_AUDIT_DAYS}.")
    return int(value)


def ensure_secrets(home: Path) -> None:
    """Makes the home's secrets where they are missing; those that are there stay."""
    home.mkdir(parents=True, exist_ok=True)
    path = home / SECRETS_FILE
    kept = read_json(path)
    missing = {name: base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode() for name in SECRET_NAMES}
    if set(missing) <= set(kept):
        return
    write_private(path, {**missing, **kept})


def write_private(path: Path, document: Mapping[str, str]) -> None:
    """Replaces a JSON file that only its owner may read, atomically."""
    temp = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    temp.replace(path)


def read_json(path: Path) -> dict[str, str]:
    """A JSON object of texts; an empty one where there is no file."""
    if not path.exists():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SetupError(f"{path} cannot be read as JSON ({type(error).__name__}).") from error
    if not isinstance(document, dict):
        raise SetupError(f"{path} must hold a JSON object.")
    return {str(key): str(value) for key, value in document.items()}


def _homes_edge(env: Mapping[str, str], state: Mapping[str, str]) -> str:
    """The home's note is about the home's own database."""
    return "" if env.get("MP_DATABASE_URL") else state.get("edge_database_url", "")


def _github(env: Mapping[str, str]) -> dict[str, Any]:
    client_id, client_secret = env.get("MP_GITHUB_CLIENT_ID", ""), env.get("MP_GITHUB_CLIENT_SECRET", "")
    if client_id and not client_secret:
        raise SetupError("MP_GITHUB_CLIENT_ID is set and MP_GITHUB_CLIENT_SECRET is not.", hint="Set both, or neither.")
    url = values.url("MP_GITHUB_URL", env, Settings.github_url)
    default = Settings.github_api_url if url == Settings.github_url else f"{url}/api/v3"
    return {
        "github_client_id": client_id,
        "github_client_secret": client_secret,
        "github_url": url,
        "github_api_url": values.url("MP_GITHUB_API_URL", env, default),
    }


def _telling(env: Mapping[str, str]) -> dict[str, Any]:
    form = values.word("MP_LOG_FORMAT", env, Settings.log_format, ("text", "json"))
    port = values.count("MP_METRICS_PORT", env, 1) if env.get("MP_METRICS_PORT") else None
    if port is not None and port > _MAX_PORT:
        raise SetupError(f"MP_METRICS_PORT must be a port, at most {_MAX_PORT}.")
    return {
        "log_format": form,
        "log_level": values.word("MP_LOG_LEVEL", env, Settings.log_level, ("debug", "info", "warning", "error")),
        "access_log": values.word("MP_ACCESS_LOG", env, "1" if form == "json" else "0", ("0", "1")) == "1",
        "metrics_port": port,
        "metrics_host": env.get("MP_METRICS_HOST") or Settings.metrics_host,
        "otel_endpoint": values.url("OTEL_EXPORTER_OTLP_ENDPOINT", env, "")
        if env.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        else "",
    }


def secret_of(name: str, env: Mapping[str, str], kept: Mapping[str, str]) -> str:
    """A secret of the environment, or else of a home's secrets; SetupError when it is missing or too short."""
    value = env.get(name) or kept.get(name) or ""
    if len(value) < _MIN_SECRET_CHARS:
        raise SetupError(
            f"{name} is missing or shorter than {_MIN_SECRET_CHARS} characters.",
            hint="Set it in the environment, or start an embedded marketplace with `mp up`, which makes its own.",
        )
    return value
