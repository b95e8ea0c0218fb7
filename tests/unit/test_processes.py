"""The supervisor, with tiny Python children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from mp_kit.errors import SetupError
from mp_kit.server import processes, spawning
from mp_kit.server.processes import Child, Supervisor, free_port, http_probe

SLEEP = "import time; time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "


def child(name: str, code: str, **options: object) -> Child:
    """A child that runs Python code; it starts in some 10 ms without site-packages."""
    return Child(name, [sys.executable, "-I", "-S", "-c", code], **options)  # type: ignore[arg-type]


def mark(path: Path, then: str = SLEEP) -> str:
    """Code that makes a file, for a probe, and goes on."""
    return f"open({str(path)!r}, 'w').close(); {then}"


def until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    """Waits for something that another process brings about."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def alive(pid: int) -> bool:
    """Whether a process lives; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_start_shows_the_log_of_a_child_that_dies_before_it_is_ready(tmp_path: Path):
    """Name, exit status and last lines; the child started before it is stopped."""
    first = child("first", mark(tmp_path / "first"), probe=(tmp_path / "first").exists)
    broken = child("broken", "print('no luck today'); raise SystemExit(3)", probe=lambda: False)
    supervisor = Supervisor([first, broken], tmp_path / "log")
    with pytest.raises(SetupError, match=r"broken ended before it was ready \(exit status 3\)") as caught:
        supervisor.start()
    assert "no luck today" in caught.value.hint
    assert supervisor.pids == {}


def test_start_gives_up_on_a_child_that_never_gets_ready(tmp_path: Path):
    """The wait is bounded, and the child is not left behind."""
    supervisor = Supervisor([child("slow", SLEEP, probe=lambda: False, ready_timeout=0.2)], tmp_path)
    with pytest.raises(SetupError, match=r"slow was not ready in 0\.2 s"):
        supervisor.start()
    assert supervisor.pids == {}


def test_start_of_a_program_that_is_not_there(tmp_path: Path):
    """The sentence names the child and what the system said."""
    with pytest.raises(SetupError, match=r"ghost cannot be started: .*No such file"):
        Supervisor([Child("ghost", [str(tmp_path / "ghost")])], tmp_path).start()


def test_a_child_that_ignores_sigterm_is_killed_with_its_descendants(tmp_path: Path):
    """Stop does not hang on it, and what it had started goes too."""
    told = tmp_path / "told"
    code = f"{STUBBORN}import os; pid = os.fork(); pid and open({str(told)!r}, 'w').write(str(pid)); {SLEEP}"
    supervisor = Supervisor(
        [child("stubborn", code, probe=lambda: told.exists() and told.read_text() != "")], tmp_path, grace=0.1
    )
    assert supervisor.start()
    pids = [supervisor.pids["stubborn"], int(told.read_text())]
    supervisor.stop()
    assert until(lambda: not any(map(alive, pids)))


def test_watch_gives_up_after_repeated_fast_deaths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Six starts, then an error with the log's last lines."""
    monkeypatch.setattr(processes, "_BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(processes, "_POLL_SECONDS", 0.001)
    supervisor = Supervisor([child("ill", "print('ouch'); raise SystemExit(1)")], tmp_path)
    supervisor.start()
    with pytest.raises(SetupError, match="ill died 6 times in a row"):
        supervisor.watch()
    supervisor.stop()
    assert (tmp_path / "ill.log").read_text() == "ouch\n" * 6


def test_watch_ends_with_a_child_that_is_not_to_be_restarted(tmp_path: Path):
    """Its end is the end, whatever its exit status."""
    with (
        Supervisor([child("once", "pass", restart=False)], tmp_path) as supervisor,
        pytest.raises(SetupError) as caught,
    ):
        supervisor.watch()
    assert caught.value.message == "once ended (exit status 0)."


def test_start_waits_for_each_and_stop_goes_backwards(tmp_path: Path):
    """The second child starts after the first is ready, and ends before it."""
    order = tmp_path / "order"
    code = (
        "import signal, sys; log = open({order!r}, 'ab', 0); "
        "signal.signal(signal.SIGTERM, lambda *_: (log.write(b'-{name}'), sys.exit())); log.write(b'+{name}'); "
        "signal.pause()"
    )
    children = [
        child(
            name,
            code.format(order=str(order), name=name),
            probe=lambda n=name: order.exists() and f"+{n}" in order.read_text(),
        )
        for name in "ab"
    ]
    supervisor = Supervisor(children, tmp_path)
    assert supervisor.start()
    assert list(supervisor.pids) == ["a", "b"]
    supervisor.stop()
    supervisor.stop()
    assert order.read_text() == "+a+b-b-a"


def test_watch_restarts_a_killed_child_and_a_signal_ends_it(tmp_path: Path):
    """A new process takes the place of the killed one; SIGTERM leads out of watch; handlers are given back."""
    before = signal.getsignal(signal.SIGTERM)
    started = tmp_path / "started"
    code = f"open({str(started)!r}, 'a').write('.'); {SLEEP}"
    supervisor = Supervisor([child("phoenix", code, probe=started.exists)], tmp_path)

    def murder() -> None:
        os.kill(supervisor.pids["phoenix"], signal.SIGKILL)
        until(lambda: len(started.read_text()) == 2)
        os.kill(os.getpid(), signal.SIGTERM)

    with supervisor:
        first = supervisor.pids["phoenix"]
        (murderer := threading.Thread(target=murder)).start()
        supervisor.watch()
        murderer.join()
        assert first != supervisor.pids["phoenix"]
    assert started.read_text() == ".."
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_during_start_ends_it(tmp_path: Path):
    """Ctrl-C while a child is getting ready is a clean stop, no error."""

    def interrupt() -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        return False

    supervisor = Supervisor([child("first", SLEEP, probe=interrupt), child("second", SLEEP)], tmp_path)
    assert not supervisor.start()
    assert supervisor.stopping
    assert supervisor.pids == {}


def test_a_second_signal_cuts_the_grace_short(tmp_path: Path):
    """The test's own limit is far below the grace; one signal delivered twice does not count as two."""
    ready = tmp_path / "ready"
    supervisor = Supervisor([child("deaf", STUBBORN + mark(ready), probe=ready.exists)], tmp_path, grace=3600)
    supervisor.start()
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
    supervisor.watch()
    assert not supervisor._hastened
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    supervisor.stop()
    assert supervisor.pids == {}


@pytest.mark.skipif(sys.platform != "linux", reason="death signals are Linux's")
def test_kill_of_the_supervisor_leaves_no_child(tmp_path: Path):
    """``kill -9`` of the parent ends its children."""
    code = (
        "import sys; from pathlib import Path; from mp_kit.server.processes import *; "
        "sleep = [sys.executable, '-c', 'import time; time.sleep(60)']; "
        "s = Supervisor([Child(name, sleep) for name in 'ab'], Path(sys.argv[1])); "
        "s.start(); print(*s.pids.values(), flush=True); s.watch()"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    argv = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert [os.getpgid(pid) for pid in pids] == [os.getpgid(parent.pid)] * 2
        parent.kill()
    assert until(lambda: not any(map(alive, pids)))


def test_env_is_added_and_kept_out_of_reprs(tmp_path: Path):
    """The child sees it; a log line that shows the child does not."""
    quick = child(
        "quick", "import os; print(os.environ['PASSWORD'], 'PATH' in os.environ)", env={"PASSWORD": "hunter2"}
    )
    with Supervisor([quick], tmp_path):
        assert until(lambda: (tmp_path / "quick.log").read_text() == "hunter2 True\n")
    assert "hunter2" not in repr(quick)


def test_logs_are_appended_and_rotated_above_their_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One old copy stays; the tail reads the new one."""
    monkeypatch.setattr(spawning, "LOG_CAP_BYTES", 10)
    log = tmp_path / "x.log"
    for text in (b"12345\n", b"67890\n", b"new\n"):
        handle = spawning.open_log(log)
        os.write(handle, text)
        os.close(handle)
    assert (tmp_path / "x.log.1").read_bytes() == b"12345\n67890\n"
    assert spawning.tail(log) == "new"
    assert spawning.tail(tmp_path / "absent") == ""


def test_http_probe_tells_silence_refusal_and_readiness_apart():
    """Nobody listening and 503 are not ready, 200 is."""
    port = free_port()
    assert not http_probe(f"http://127.0.0.1:{port}/health")()
    statuses = iter([503, 200])

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the base class names it
            self.send_response(next(statuses) if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    with HTTPServer(("127.0.0.1", port), Health) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        answers = [http_probe(f"http://127.0.0.1:{port}/health")() for _ in range(2)]
        server.shutdown()
    assert answers == [False, True]
