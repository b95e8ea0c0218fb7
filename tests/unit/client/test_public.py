"""The vendor's vocabulary: complete, sorted, and cheap to import."""

from __future__ import annotations

import subprocess
import sys

import mp_kit
from mp_kit import errors


def test_all_is_sorted_and_complete():
    """Each error class, and what a vendor starts from."""
    public = {"Marketplace", "__version__", "connect", "contracts", "errors", "sandbox", "verify_webhook"}
    assert sorted(public | {name for name in errors.__all__ if name != "BY_CODE"}) == sorted(mp_kit.__all__)
    assert sorted(mp_kit.__all__) == mp_kit.__all__


def test_each_name_is_there():
    """Loaded when first used."""
    assert all(getattr(mp_kit, name) is not None for name in mp_kit.__all__)
    assert mp_kit.__all__ == dir(mp_kit)
    assert errors.AuthError is mp_kit.AuthError


def test_unknown_name_is_an_attribute_error():
    """As of any module."""
    assert not hasattr(mp_kit, "Market")


def test_import_loads_nothing_heavy_and_opens_nothing():
    """No library of ours or others, no file but code, no socket."""
    code = (
        "import sys; opened = [];"
        "sys.addaudithook(lambda event, args: opened.append((event, str(args[:1])))"
        " if event in {'open', 'socket.connect', 'socket.__new__'} else None);"
        "import mp_kit;"
        "heavy = {'httpx', 'pydantic', 'pandas', 'pyarrow', 'rich', 'typer', 'urllib3'} & set(sys.modules);"
        "odd = [e for e in opened if not any(end in e[1] for end in ('.py', '.pyc'))];"
        "print(sorted(heavy), odd)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[] []" == found.stdout.strip()


def test_dir_of_errors_matches_their_module():
    """A class that is added to the tree must be exported too."""
    classes = {name for name in vars(errors) if isinstance(getattr(errors, name), type) and name.endswith("Error")}
    assert classes <= set(mp_kit.__all__)
