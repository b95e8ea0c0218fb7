"""A job's environment: what the marketplace hands to a container, read once and checked.

1. Each variable that is missing or wrong is named in the error, with what belongs there.
2. The run's id is the subject of its token. The signature is not checked here: only the marketplace can and must.
3. The token and presigned URLs never appear in a repr.
"""

from __future__ import annotations

import base64
import binascii
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from pydantic import TypeAdapter, ValidationError

from mp_kit.contracts.common import Instant, Model, Sha256, Task
from mp_kit.contracts.training import TrainingSpec
from mp_kit.errors import SetupError

__all__ = ["DataFile", "JobEnv", "run_folder", "token_claims"]

_INSTANT: TypeAdapter[datetime] = TypeAdapter(Instant)
_JWT_PARTS = 3


class DataFile(Model):
    """A file of the round, to be fetched.

    Attributes:
        name: Its name in the round; the part before the first dash is its role.
        url: Where to GET it; may be relative to the API's URL.
        sha256: What its bytes must hash to; None when only a bare URL was given.
        size_bytes: Its length, if known.
    """

    name: str
    url: str
    sha256: Sha256 | None = None
    size_bytes: int | None = None


@dataclass(frozen=True)
class JobEnv:
    """Everything that a job knows about itself.

    Attributes:
        run_id: Subject of the run token.
        api_url: Base URL of the marketplace.
        token: The run token.
        spec: What to train.
        round_id: On which round.
        task: For which task.
        files: The round's files.
        folder: Where the job keeps its files; survives a restart of the container.
        deadline: When the job has to be over, whatever happens, in the machine's time; None if only the spec's budget
            bounds it.
        secrets: Values that must never show up in a log.
        machine_ref: The provider's id of the machine that this is, where the provider tells it.
        ahead: How far the marketplace's time is ahead of the machine's: MP_CLOCK_SHIFT, which only a sandbox sets.
    """

    run_id: str
    api_url: str
    token: str = field(repr=False)
    spec: TrainingSpec = field(repr=False)
    round_id: str
    task: Task
    files: tuple[DataFile, ...] = field(repr=False)
    folder: Path
    deadline: datetime | None
    secrets: tuple[str, ...] = field(repr=False, default=())
    machine_ref: str | None = None
    ahead: timedelta = timedelta(0)

    def here(self, instant: datetime | None) -> datetime | None:
        """An instant of the marketplace's in the machine's time."""
        return None if instant is None else instant - self.ahead

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> JobEnv:
        """Reads the variables of the wire's "training container env".

        Args:
            environ: The environment, ``os.environ`` as a rule.

        Raises:
            SetupError: A variable is missing or wrong; the message names it.
        """
        token = _required(environ, "MP_RUN_TOKEN")
        api_url = _required(environ, "MP_API_URL")
        claims = token_claims(token)
        spec = _spec(_required(environ, "TRAINING_SPEC"))
        ahead = _ahead(environ.get("MP_CLOCK_SHIFT") or "0")
        deadline = _deadline(environ.get("MP_DEADLINE"), claims)
        return cls(
            run_id=str(claims["sub"]),
            api_url=api_url,
            token=token,
            spec=spec,
            round_id=environ.get("ROUND_ID") or spec.round_id,
            task=_task(environ.get("TASK") or spec.task),
            files=_files(environ.get("DATASET_URLS") or json.dumps(spec.dataset_urls), api_url),
            folder=_folder(environ, str(claims["sub"])),
            deadline=None if deadline is None else deadline - ahead,
            secrets=tuple(environ[name] for name in _SECRETS if environ.get(name)),
            machine_ref=environ.get("RUNPOD_POD_ID") or None,
            ahead=ahead,
        )


_SECRETS = ("MP_RUN_TOKEN", "HF_TOKEN", "WANDB_API_KEY", "RUNPOD_API_KEY")


def token_claims(token: str) -> dict[str, Any]:
    """Reads a JWT's payload without checking its signature.

    Raises:
        SetupError: It is no JWT, or has no subject. The token itself is not quoted.
    """
    parts = token.split(".")
    try:
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        claims = json.loads(base64.urlsafe_b64decode(padded))
    except (IndexError, binascii.Error, ValueError):
        claims = None
    if len(parts) != _JWT_PARTS or not isinstance(claims, dict) or not claims.get("sub"):
        raise SetupError(
            "MP_RUN_TOKEN is no run token: it must be a JWT whose subject is the run's id.",
            hint="Take the token that the marketplace gave out with the run, unchanged.",
        )
    return claims


def run_folder(environ: Mapping[str, str]) -> Path:
    """Where a job keeps its files: ``MP_RUN_DIR``, else ``mp-run-RUN`` below the temporary folder.

    Both lie on a container's own disk, which survives a restart of the container and goes with the pod.

    Raises:
        SetupError: There is no run token that names the run.
    """
    return _folder(environ, str(token_claims(_required(environ, "MP_RUN_TOKEN"))["sub"]))


def _required(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "")
    if not value:
        raise SetupError(
            f"The environment variable {name} is missing, so the job does not know what to do.",
            hint="The marketplace sets TRAINING_SPEC, MP_API_URL and MP_RUN_TOKEN; hand all of them on.",
        )
    return value


def _spec(text: str) -> TrainingSpec:
    try:
        return TrainingSpec.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise SetupError(f"TRAINING_SPEC is no training spec: {where}: {first['msg']}.") from None


def _task(text: str) -> Task:
    try:
        return Task(text)
    except ValueError:
        raise SetupError(f"TASK is {text!r}; it must be one of {', '.join(Task)}.") from None


def _files(text: str, api_url: str) -> tuple[DataFile, ...]:
    try:
        entries = json.loads(text)
        return tuple(_file(entry, api_url) for entry in entries)
    except (ValueError, TypeError, ValidationError):
        raise SetupError(
            "DATASET_URLS must be a JSON list of URLs or of {name, url, sha256, size_bytes} objects."
        ) from None


def _file(entry: str | dict[str, Any], api_url: str) -> DataFile:
    if isinstance(entry, str):
        entry = {"name": unquote(PurePosixPath(urlsplit(entry).path).name), "url": entry}
    found = DataFile.model_validate(entry)
    return found.model_copy(update={"url": urljoin(api_url, found.url)})


def _folder(environ: Mapping[str, str], run_id: str) -> Path:
    safe = "".join(c if c.isalnum() or c in "-_" else "_" for c in run_id)
    return Path(environ.get("MP_RUN_DIR") or Path(tempfile.gettempdir()) / f"mp-run-{safe}")


def _deadline(text: str | None, claims: Mapping[str, Any]) -> datetime | None:
    """The earlier of MP_DEADLINE and the token's end, after which nobody would listen anyway."""
    ends = []
    if text:
        try:
            ends.append(_INSTANT.validate_python(text))
        except ValidationError:
            raise SetupError(f"MP_DEADLINE is {text!r}; it must be an instant such as 2026-01-02T15:04:05Z.") from None
    if isinstance(claims.get("exp"), int | float):
        ends.append(datetime.fromtimestamp(claims["exp"], UTC))
    return min(ends, default=None)


def _ahead(text: str) -> timedelta:
    try:
        return timedelta(seconds=float(text))
    except (ValueError, OverflowError):
        raise SetupError(f"MP_CLOCK_SHIFT is {text!r}; it must be a number of seconds.") from None
