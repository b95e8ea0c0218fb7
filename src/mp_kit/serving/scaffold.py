"""Projects to begin with: the templates of `mp init`, rendered.

1. Everything is rendered before the first file is written; a file that is there already stops it all.
2. Nothing is fetched: a new project needs no network, no marketplace and no key.
3. A name becomes a folder's and a package's: lower-case letters, digits and dashes.
"""

from __future__ import annotations

import re
import tempfile
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath

from mp_kit.contracts.common import TIMEFRAME_SECONDS, Symbol, Task
from mp_kit.errors import ConflictError, InvalidInputError
from mp_kit.version import __version__

__all__ = ["TEMPLATES", "Template", "render", "safe_name", "write_files"]


@dataclass(frozen=True)
class Template:
    """One kind of project.

    Attributes:
        name: What `--template` takes.
        task: What it is for.
        layers: Folders of files, later ones over earlier ones.
        has_model: Whether a model goes with it.
    """

    name: str
    task: Task
    layers: tuple[str, ...]
    has_model: bool = True


TEMPLATES: Mapping[str, Template] = {
    one.name: one
    for one in (
        Template("runpod-signal-http", Task.SIGNAL, ("server", "runpod-signal-http")),
        Template("runpod-signal-train", Task.SIGNAL, ("runpod-signal-train",), has_model=False),
        Template("consensus-http", Task.CONSENSUS, ("server", "consensus-http")),
        Template("optimizer-http", Task.OPTIMIZER, ("server", "optimizer-http")),
    )
}

_LONGEST_NAME = 48
_SUFFIX = ".tmpl"
_HIDDEN = "dot-"


def safe_name(text: str) -> str:
    """A name as a folder and a package take it.

    Raises:
        InvalidInputError: Nothing of it is left.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_LONGEST_NAME].strip("-")
    if not name:
        raise InvalidInputError(f"{text!r} has no letter or digit that a project's name could be made of.")
    return name


def render(
    template: Template,
    name: str,
    *,
    model: Path | None = None,
    symbols: Sequence[str] | None = None,
    timeframe: str = "1h",
) -> dict[str, bytes]:
    """A project's files by their paths.

    Args:
        template: Which one.
        name: As :func:`safe_name` gives it.
        model: Folder of a trained model to take; a published rule is written by default.
        symbols: What an optimizer's rule allocates among.
        timeframe: Of an optimizer's bars.

    Raises:
        InvalidInputError: The model is for another task, or a symbol or timeframe is none.
        MissingExtraError: The packages to read or write a model are not installed.
    """
    words = {"name": name, "task": template.task.value, "template": template.name, "version": __version__}
    files: dict[str, bytes] = {}
    for layer in template.layers:
        found = _files(resources.files("mp_kit") / "templates" / layer, PurePosixPath())
        files |= {path: _filled(text, words).encode() for path, text in found.items()}
    return files | (_model(template, model, symbols, timeframe) if template.has_model else {})


def write_files(folder: Path, files: Mapping[str, bytes], *, force: bool = False) -> list[Path]:
    """Writes a project.

    Args:
        folder: Its root; made if it is not there.
        files: By path.
        force: Write over files that are there.

    Raises:
        ConflictError: A file is there already, or a path leads elsewhere by a link; nothing was written.
    """
    paths = {folder / name: content for name, content in files.items()}
    linked = [
        path for path in paths if any(part.is_symlink() for part in (path, *path.parents[: _depth(path, folder)]))
    ]
    there = [path for path in paths if path.exists() and not force]
    if linked or there:
        shown = ", ".join(str(path.relative_to(folder)) for path in (linked or there)[:5])
        what = "lead elsewhere by a link" if linked else "are there already"
        raise ConflictError(
            f"In {folder} these {what}: {shown}. Nothing was written.",
            hint="Choose another --dir." if linked else "Choose another --dir, or write over them with --force.",
        )
    for path, content in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return list(paths)


def _depth(path: Path, folder: Path) -> int:
    return len(path.relative_to(folder).parts)


def _files(place: Traversable, prefix: PurePosixPath) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in sorted(place.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            found |= _files(entry, prefix / entry.name)
        elif entry.name.endswith(_SUFFIX):
            name = entry.name.removesuffix(_SUFFIX)
            name = f".{name.removeprefix(_HIDDEN)}" if name.startswith(_HIDDEN) else name
            found[str(prefix / name)] = entry.read_text(encoding="utf-8")
    return found


def _filled(text: str, words: Mapping[str, str]) -> str:
    return re.sub(r"@@(\w+)@@", lambda found: words[found[1]], text)


def _model(template: Template, given: Path | None, symbols: Sequence[str] | None, timeframe: str) -> dict[str, bytes]:
    from mp_kit.serving.reference import SYMBOLS, write_reference
    from mp_kit.trainer.card import CARD, MODEL

    if given is not None:
        _check_model(given, template.task)
        return {f"model/{name}": (given / name).read_bytes() for name in (MODEL, CARD)}
    chosen = _checked_symbols(symbols or SYMBOLS)
    if timeframe not in TIMEFRAME_SECONDS:
        raise InvalidInputError(f"{timeframe!r} is no timeframe; there are {', '.join(TIMEFRAME_SECONDS)}.")
    with tempfile.TemporaryDirectory() as folder:
        write_reference(template.task, Path(folder), symbols=chosen, timeframe=timeframe)
        return {f"model/{name}": (Path(folder) / name).read_bytes() for name in (MODEL, CARD)}


def _check_model(folder: Path, task: Task) -> None:
    from mp_kit.trainer.predict import Predictor

    predictor = Predictor.load(folder)
    if predictor.task != task.value:
        raise InvalidInputError(
            f"The model in {folder} is for {predictor.task}, the template for {task.value}.",
            hint=f"Take the template {'runpod-signal' if predictor.task == 'signal' else predictor.task}-http.",
        )


def _checked_symbols(symbols: Sequence[str]) -> list[str]:
    from pydantic import TypeAdapter, ValidationError

    adapter: TypeAdapter[str] = TypeAdapter(Symbol)
    try:
        found = [adapter.validate_python(symbol) for symbol in symbols]
    except ValidationError:
        raise InvalidInputError(f"{', '.join(symbols)}: one of these is no symbol such as EURUSD.") from None
    if len(set(found)) < len(found):
        raise InvalidInputError("A symbol is named twice.")
    return found
