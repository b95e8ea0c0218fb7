"""Rendered projects."""

from __future__ import annotations

import ast
import json
import tomllib
from pathlib import Path

import pytest

from mp_kit.contracts.common import Task
from mp_kit.errors import ConflictError, InvalidInputError
from mp_kit.serving.project import find_project
from mp_kit.serving.reference import write_reference
from mp_kit.serving.scaffold import TEMPLATES, render, safe_name, write_files
from mp_kit.trainer.predict import Predictor

NAMES = list(TEMPLATES)
SERVERS = [name for name in NAMES if TEMPLATES[name].has_model]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("My Model!", "my-model"),
        ("Übung 7", "ubung-7"),
        ("../../etc/passwd", "etc-passwd"),
        ("a" * 80, "a" * 48),
        ("-- x --", "x"),
        ('x"; rm -rf /', "x-rm-rf"),
    ],
)
def test_name_is_made_safe(text: str, name: str):
    """For folders, packages, and everything that it is pasted into."""
    assert name == safe_name(text)


@pytest.mark.parametrize("text", ["", "   ", "///", "模型"])
def test_name_of_nothing_is_refused(text: str):
    """Rather than made up."""
    with pytest.raises(InvalidInputError):
        safe_name(text)


@pytest.mark.parametrize("name", NAMES)
def test_template_is_whole(name: str):
    """Code parses, no blank is left, the package's data is valid; nobody's root in the image."""
    files = render(TEMPLATES[name], "mine")
    texts = {path: content.decode() for path, content in files.items() if not path.endswith(".onnx")}
    for path, text in texts.items():
        assert "@@" not in text, path
        if path.endswith(".py"):
            ast.parse(text)
            assert all(len(line) <= 120 for line in text.splitlines()), path
    assert "mine" == tomllib.loads(texts["pyproject.toml"])["project"]["name"]
    assert {".gitignore", ".dockerignore", "Dockerfile", "README.md", "requirements.txt"} <= set(files)
    dockerfile = texts["Dockerfile"].splitlines()
    assert any(line.startswith("USER ") and line != "USER root" for line in dockerfile)


@pytest.mark.parametrize("name", SERVERS)
def test_vendors_own_code_is_short(name: str):
    """What is common lives in the library."""
    assert 30 <= len(render(TEMPLATES[name], "mine")["app.py"].splitlines()) <= 60


@pytest.mark.parametrize("name", SERVERS)
def test_model_is_the_same_each_time(name: str, tmp_path: Path):
    """A rule, no random numbers; its card is its own."""
    one, two = render(TEMPLATES[name], "one"), render(TEMPLATES[name], "two")
    assert one["model/model.onnx"] == two["model/model.onnx"]
    write_files(tmp_path, one)
    assert TEMPLATES[name].task == Predictor.load(tmp_path / "model").task == find_project(tmp_path).task


def test_trained_model_is_taken_along(tmp_path: Path):
    """Byte for byte."""
    write_reference(Task.OPTIMIZER, tmp_path, symbols=["A", "B"])
    files = render(TEMPLATES["optimizer-http"], "mine", model=tmp_path)
    assert (tmp_path / "model.onnx").read_bytes() == files["model/model.onnx"]
    assert ["A", "B"] == json.loads(files["model/model_card.json"])["features"]


def test_model_of_another_task_is_refused(tmp_path: Path):
    """With the template that would do."""
    write_reference(Task.SIGNAL, tmp_path)
    with pytest.raises(InvalidInputError, match="signal") as caught:
        render(TEMPLATES["consensus-http"], "mine", model=tmp_path)
    assert "runpod-signal-http" in caught.value.hint


@pytest.mark.parametrize(
    ("symbols", "timeframe"), [(["EUR USD"], "1h"), (["A", "A"], "1h"), (["A"], "7m")], ids=["no", "twice", "frame"]
)
def test_bad_choices_are_refused(symbols: list[str], timeframe: str):
    """Before anything is written."""
    with pytest.raises(InvalidInputError):
        render(TEMPLATES["optimizer-http"], "mine", symbols=symbols, timeframe=timeframe)


def test_files_are_not_written_over(tmp_path: Path):
    """One that is there stops them all, unless forced; others in the folder stay."""
    (tmp_path / "b.txt").write_text("mine")
    (tmp_path / "other.txt").write_text("other")
    with pytest.raises(ConflictError, match=r"b\.txt"):
        write_files(tmp_path, {"a.txt": b"new", "b.txt": b"new"})
    assert not (tmp_path / "a.txt").exists()
    write_files(tmp_path, {"a.txt": b"new", "b.txt": b"new"}, force=True)
    assert ["new", "new", "other"] == [path.read_text() for path in sorted(tmp_path.iterdir())]


@pytest.mark.parametrize("inside", ["folder/file.txt", "file.txt"])
def test_links_are_not_followed(inside: str, tmp_path: Path):
    """Not even by force: they lead out of the project."""
    place, elsewhere = tmp_path / "place", tmp_path / "elsewhere"
    place.mkdir()
    elsewhere.mkdir()
    (place / "folder").symlink_to(elsewhere)
    (place / "file.txt").symlink_to(elsewhere / "file.txt")
    with pytest.raises(ConflictError, match="link"):
        write_files(place, {inside: b"new"}, force=True)
    assert [] == list(elsewhere.iterdir())


@pytest.mark.parametrize(
    "text",
    [None, "", "nonsense", "[tool.mp-kit]\ntask = 'signal'", "[tool.mp-kit]\ntask = 'x'\nserver = 'app.py'"],
    ids=["absent", "empty", "no-toml", "no-server", "no-task"],
)
def test_folder_without_project_is_refused(text: str | None, tmp_path: Path):
    """With how to make one."""
    if text is not None:
        (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(InvalidInputError) as caught:
        find_project(tmp_path)
    assert "mp init" in caught.value.hint


def test_project_whose_server_is_gone_is_refused(tmp_path: Path):
    """By the file's name."""
    (tmp_path / "pyproject.toml").write_text("[tool.mp-kit]\ntask = 'signal'\nserver = 'app.py'")
    with pytest.raises(InvalidInputError, match=r"app\.py"):
        find_project(tmp_path)
