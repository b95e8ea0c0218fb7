"""A project's server as a process: started, watched, started again."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from mp_kit.contracts.common import Task
from mp_kit.errors import SetupError, TimeoutExceededError
from mp_kit.serving.project import Project, free_port, running
from mp_kit.serving.reload import Reloader, picture

PATIENCE = 30.0

SERVER = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ANSWER " + os.environ.get("MARKETPLACE_TOKEN", "none").encode())
http.server.HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""


def project(folder: Path, code: str) -> Project:
    (folder / "app.py").write_text(code)
    return Project(folder, Task.SIGNAL, "app.py")


def said(port: int) -> str:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/", timeout=2).text
    return ""


def until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def test_server_of_a_project_keeps_quiet(tmp_path: Path):
    """It answers on the loopback, and has no token to tell anybody with."""
    environ = {**os.environ, "MARKETPLACE_TOKEN": "sit_a_b"}
    with running(project(tmp_path, SERVER), environ) as url:
        assert "ANSWER none" == httpx.get(url).text
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_server_that_ends_is_told_with_its_last_words(tmp_path: Path):
    """Instead of a timeout."""
    with (
        pytest.raises(SetupError, match=r"exit code 1.*no model here"),
        running(project(tmp_path, "raise SystemExit('no model here')")),
    ):
        pass


def test_server_that_is_never_ready_is_told(tmp_path: Path):
    """And ended."""
    with (
        pytest.raises(TimeoutExceededError, match="not ready"),
        running(project(tmp_path, "import time; time.sleep(60)"), seconds=0.3),
    ):
        pass


def test_traceback_of_the_server_is_heard(tmp_path: Path):
    """A failed check has its cause there."""
    heard: list[str] = []
    code = "import traceback\ntry:\n    1/0\nexcept ZeroDivisionError:\n    traceback.print_exc()\n" + SERVER
    with running(project(tmp_path, code), hear=heard.append):
        pass
    assert "ZeroDivisionError" in heard[0]


def test_changed_file_starts_the_server_again(tmp_path: Path):
    """Also one that had ended by a mistake; nothing is left at the end."""
    made, heard, port = project(tmp_path, SERVER), [], free_port()
    reloader = Reloader(made, port, os.environ, heard.append, seconds=0.05)
    thread = threading.Thread(target=reloader.run)
    thread.start()
    try:
        assert until(lambda: said(port).startswith("ANSWER"))
        project(tmp_path, "raise SystemExit(3)")
        assert until(lambda: any("exit code 3" in line for line in heard))
        project(tmp_path, SERVER.replace("ANSWER", "OTHER"))
        assert until(lambda: said(port).startswith("OTHER"))
    finally:
        reloader.stop()
        thread.join(PATIENCE)
    assert "app.py changed" in " ".join(heard)
    assert "" == said(port)


def test_picture_leaves_out_what_is_no_source(tmp_path: Path):
    """Caches, tests and hidden folders change by themselves."""
    for name in ("app.py", "model/model.onnx", "__pycache__/a.py", "tests/a.py", ".git/a.py", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert {"app.py", "model.onnx"} == {path.name for path in picture(tmp_path)}
