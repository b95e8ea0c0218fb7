"""docs/settings.md and .env.example are what ``Settings`` says of itself, and they say all of it."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mp_kit.errors import SetupError
from mp_kit.server.settings import SECRET_NAMES, Settings, load
from mp_kit.server.strength import weakness

ROOT = Path(__file__).parents[2]
FIXED = {"max_body_bytes", "late_grace_seconds"}
"""Fields without a variable."""
OURS = {"MP_UP_CHILD", "MP_REPORT_PROCESS", "MP_CLOCK_SHIFT"}
"""Between our own processes."""
JOBS = {"MP_API_URL", "MP_DEADLINE", "MP_RUN_DIR", "MP_RUN_TOKEN", "INFRA_SIGNALS_URL", "INFRA_CONSENSUS_URL"}
"""Written into jobs' and servers' environments, never read here."""


def _load() -> Any:
    path = ROOT / "scripts" / "settings_reference.py"
    spec = importlib.util.spec_from_file_location("settings_reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["settings_reference"] = importlib.util.module_from_spec(spec)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


reference = _load()
NAMES = {each.name for each in reference.variables()}


class Asked(Mapping[str, str]):
    """An environment that remembers what it was asked for."""

    def __init__(self, **known: str) -> None:
        self.known = known
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        return self.known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.known)

    def __len__(self) -> int:
        return len(self.known)


def test_files_are_fresh():
    """Else: python scripts/settings_reference.py."""
    assert reference.page() == (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert reference.env_example() == (ROOT / ".env.example").read_text(encoding="utf-8")


def test_check_tells_a_stale_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """With the command that mends it; what people wrote in the page stays."""
    (tmp_path / "settings.md").write_text(f"# Mine\n\n{reference.SECTION}\n\nworn out\n\n## Also mine\n\nkept\n")
    monkeypatch.setattr(reference, "ROOT", tmp_path)
    monkeypatch.setattr(reference, "PAGE", tmp_path / "settings.md")
    monkeypatch.setattr(reference, "ENV", tmp_path / ".env.example")
    assert 1 == reference.main(["--check"])
    assert "settings.md is stale; write it anew: python scripts/settings_reference.py" in capsys.readouterr().err
    assert 0 == reference.main([])
    assert 0 == reference.main(["--check"])
    said = (tmp_path / "settings.md").read_text()
    assert said.startswith("# Mine\n")
    assert said.endswith("\n## Also mine\n\nkept\n")
    assert ("worn out" in said, "`MP_HOME`" in said) == (False, True)


def test_every_field_has_its_variable():
    """Described, with the variable's name; those that are fixed are known."""
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    told = reference.descriptions()
    assert set(fields) == set(told)
    nameless = {name for name, field in fields.items() if name != "store_env" and not reference._of(field, told[name])}
    assert FIXED == nameless


def test_table_is_what_load_reads(tmp_path: Path):
    """No more, no less: every name that ``load`` asks the environment for, and those that others read."""
    url = "postgresql://x/y"
    env = Asked(
        MP_DATABASE_URL=url,
        MP_GITHUB_CLIENT_ID="x",
        MP_GITHUB_CLIENT_SECRET="y",
        **dict.fromkeys(SECRET_NAMES, "s" * 40),
    )
    load(tmp_path, env)
    assert NAMES - set(reference._BESIDE) == env.names | {"MP_HOME"}


def test_every_variable_of_the_operators_side_is_told():
    """Whatever name stands in its code is in the table, or is between processes."""
    files = [*ROOT.glob("src/mp_kit/server/**/*.py"), *ROOT.glob("flows/*.py")]
    found = {
        name for file in files for name in re.findall(r"[\"']((?:MP|INFRA|OTEL)_[A-Z0-9_]+)[\"']", file.read_text())
    }
    assert set() == found - NAMES - OURS - JOBS


def test_guides_names_are_told():
    """Each variable that the guide has is in the table, or the page says what became of it."""
    guide = ROOT.parent / "shared" / "mission" / "implementation-guide.md"
    if not guide.exists():
        pytest.skip("the guide is not beside this checkout")
    blocks = re.findall(r"^#### .*?(?=^#|\Z)|```bash\n.*?```", guide.read_text(), re.MULTILINE | re.DOTALL)
    wanted = {name for block in blocks for name in re.findall(r"\b([A-Z][A-Z0-9]+(?:_[A-Z0-9]+)+)=", block)}
    assert {"INFRA_TOKEN_PEPPER", "RUNPOD_API_KEY"} <= wanted
    page = reference.page()
    assert set() == {name for name in wanted if f"`{name}`" not in page and name not in NAMES} - {
        "TRAINING_SPEC",
        "ROUND_ID",
    }


def test_examples_are_no_settings(tmp_path: Path):
    """Copied as it is, .env.example starts nothing, and none of its values is a good secret."""
    lines = [line for line in (ROOT / ".env.example").read_text().splitlines() if line and not line.startswith("#")]
    env = dict(line.split("=", 1) for line in lines)
    assert set(SECRET_NAMES) <= set(env)
    assert not [name for name in SECRET_NAMES if weakness(env[name]) is None]
    with pytest.raises(SetupError, match="is missing or shorter"):
        load(tmp_path, env)
