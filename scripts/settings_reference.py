"""Writes ``docs/settings.md`` and ``.env.example`` out of ``Settings``; ``--check`` only tells whether one is stale."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mp_kit.server import strength
from mp_kit.server.settings import SECRET_NAMES, STORE_NAMES, Settings

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "settings.md"
ENV = ROOT / ".env.example"
MAKE = "python scripts/settings_reference.py"
_WIDTH = 110
_ENTRY = re.compile(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", re.MULTILINE)
_NAMED = re.compile(r" \(([^()]*?\b(?:MP|INFRA|HF|WANDB|OTEL|AWS)_[^()]*)\)")
_EXAMPLES = {
    "database_url": "postgresql://mp@postgres.internal/marketplace",
    "base_url": "https://marketplace.example.com",
    "store_url": "s3://bucket/prefix",
}
_STORE_TOLD = {
    "AWS_ACCESS_KEY_ID": "Key of the store in S3, or whatever speaks as S3 does.",
    "AWS_SECRET_ACCESS_KEY": "Its secret.",
    "AWS_SESSION_TOKEN": "Its session, where the key is a temporary one.",
    "AWS_ENDPOINT_URL": "Root of a server that speaks S3; Amazon's own where it is empty.",
    "AWS_REGION": "Region of the bucket.",
    "CLOUDFLARE_R2_ACCESS_KEY": "Key of the store in R2.",
    "CLOUDFLARE_R2_SECRET_KEY": "Its secret.",
    "CLOUDFLARE_R2_ACCOUNT_ID": "The account, which its address is made of.",
}
_BESIDE = {
    "MP_NOTIFY_BLOCK": "Prefect's notification block that hears of failed runs, too ([flows.md](flows.md)).",
    "MP_TASK_RUNNER": "Where a round's symbols are read: `threads`, or `dask:tcp://host:8786` ([scale.md](scale.md)).",
    "PREFECT_API_URL": "Prefect's API, for workers and `mp admin flow`; `mp up` notes its own.",
    "PREFECT_API_AUTH_STRING": "`user:password` of a Prefect server that asks for them.",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "Seconds between heartbeats of flow runs; 30 is good.",
    "OTEL_SERVICE_NAME": "The name under which traces arrive; `mp-kit` where it is empty. "
    "Other variables of OpenTelemetry's library (`OTEL_TRACES_SAMPLER` and such) mean what they mean there.",
}
"""What the operator's processes read beside ``Settings``."""
NOTE = f"""Written by `{MAKE}` out of `Settings`: change its descriptions, not these lines. Variables marked
*secret* are never shown: not in a log, a repr, an error, or Prefect.
"""
_BESIDE_SECRETS = ("PREFECT_API_AUTH_STRING",)
_STORE_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "CLOUDFLARE_R2_SECRET_KEY")


@dataclass(frozen=True)
class Variable:
    """A row of the table."""

    name: str
    told: str
    default: str = ""
    example: str = ""
    is_secret: bool = False
    is_needed: bool = False


def variables() -> list[Variable]:
    """Every variable of the operator's side, in the order of ``Settings``; fields without one are left out."""
    found: list[Variable] = []
    told = descriptions()
    for field in dataclasses.fields(Settings):
        if field.name == "store_env":
            found += [Variable(n, _STORE_TOLD[n], is_secret=n in _STORE_SECRETS) for n in STORE_NAMES]
        elif variable := _of(field, told[field.name]):
            found.append(variable)
    return found + [Variable(name, text, is_secret=name in _BESIDE_SECRETS) for name, text in _BESIDE.items()]


def descriptions() -> Mapping[str, str]:
    """What ``Settings`` says of each of its fields."""
    return {name: " ".join(text.split()) for name, text in _ENTRY.findall(inspect.getdoc(Settings) or "")}


def _of(field: dataclasses.Field[object], told: str) -> Variable | None:
    """The field's variable, named in the last parenthesis of its description; None for one that is no setting."""
    named = [match for match in _NAMED.finditer(told) if re.search(r"[A-Z]{2,}_[A-Z]", match[1])]
    if not named:
        return None
    name, _, remark = named[-1][1].partition(",")
    remark = f" ({remark.strip()})" if remark else ""
    text = f"{told[: named[-1].start()]}{remark}{told[named[-1].end() :]}"
    no_default = field.default is dataclasses.MISSING or field.default in ("", None)
    return Variable(
        name=name,
        told=text.replace("``", "`"),
        default="" if no_default else _shown(field.default),
        example=_EXAMPLES.get(field.name, ""),
        is_secret=not field.repr,
        is_needed=name in SECRET_NAMES,
    )


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


SECTION = "## The table"


def page() -> str:
    """The whole of docs/settings.md: what people wrote in it, and the table in its section.

    Raises:
        SystemExit: The page has no such section.
    """
    head, found, rest = _read(PAGE).partition(f"{SECTION}\n")
    if not found:
        sys.exit(f"{PAGE} has no section {SECTION!r}")
    below = rest[rest.index("\n## ") :] if "\n## " in rest else ""
    return "\n".join([f"{head}{SECTION}\n", NOTE, *_table()]) + "\n" + below


def _table() -> Iterator[str]:
    yield "| Variable | What it is | Default |"
    yield "|---|---|---|"
    for each in variables():
        marks = [word for word, holds in {"needed": each.is_needed, "secret": each.is_secret}.items() if holds]
        mark = f" *{', '.join(marks)}*" if marks else ""
        default = f"`{each.default}`" if each.default else ""
        yield f"| `{each.name}`{mark} | {each.told} | {default} |"


def env_example() -> str:
    """The whole of .env.example."""
    return "\n".join(_env_lines()) + "\n"


def _env_lines() -> Iterator[str]:
    yield f"# Variables of the marketplace's operator, written by `{MAKE}`; docs/settings.md says more."
    yield f"# Copy to .env. A line without # needs a value; secrets are made by: {strength.MAKE}"
    yield "# In a shell it is read by: set -a; . ./.env; set +a"
    for each in variables():
        yield ""
        yield from textwrap.wrap(
            _plain(each.told), _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
        )
        if each.is_needed or each.example:
            yield f"{each.name}={each.example}"
        else:
            yield f"#{each.name}={each.default}"


def _plain(told: str) -> str:
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"docs/\1", told).replace("`", "")


def main(args: list[str]) -> int:
    """Writes both files, or checks them; 1 when one is stale."""
    stale = {path: text for path, text in {PAGE: page(), ENV: env_example()}.items() if _read(path) != text}
    if "--check" not in args:
        for path, text in stale.items():
            path.write_text(text, encoding="utf-8")
        print(f"docs/settings.md, .env.example: {len(variables())} variables")
        return 0
    for path in stale:
        print(f"{path.relative_to(ROOT)} is stale; write it anew: {MAKE}", file=sys.stderr)
    return 1 if stale else 0


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
