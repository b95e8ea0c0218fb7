from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import runpod_orders
from runpod_orders import eventually, order

from mp_kit.testing.fake_runpod import FakeRunPod, Fault, Pace

TELL_ENV = "import json, os, time; print(json.dumps(dict(os.environ)), flush=True); time.sleep(60)"


@pytest.fixture
def live(tmp_path: Path) -> Iterator[FakeRunPod]:
    """A fake that runs containers, in a hurry."""
    pace = Pace(provisioning=0, pull=0, restart=0.05, grace=0.3)
    with FakeRunPod(pace=pace, folder=tmp_path / "disks") as fake:
        yield fake


@pytest.fixture
def rent(live: FakeRunPod) -> Iterator[httpx.Client]:
    """A client of its account."""
    with runpod_orders.client(live) as client:
        yield client


def told(fake: FakeRunPod, pod_id: str) -> list[str]:
    """What the container has printed."""
    return [line.removeprefix("container: ") for line in fake.logs(pod_id) if line.startswith("container: ")]


def first_line(fake: FakeRunPod, pod_id: str) -> str:
    """The first line, waited for."""
    assert eventually(lambda: bool(told(fake, pod_id)))
    return told(fake, pod_id)[0]


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it may end between the two
        return False


def test_container_has_the_pods_environment_and_runpods(live: FakeRunPod, rent: httpx.Client) -> None:
    """And none of this process's own secrets."""
    os.environ["TOP_SECRET"] = "no"
    try:
        pod_id = rent.post("/pods", json=order(script=TELL_ENV, env={"TASK": "signal"})).json()["id"]
        env = json.loads(first_line(live, pod_id))
    finally:
        del os.environ["TOP_SECRET"]
    assert (pod_id, "1", "signal") == (env["RUNPOD_POD_ID"], env["RUNPOD_GPU_COUNT"], env["TASK"])
    assert "TOP_SECRET" not in env


@pytest.mark.parametrize(
    "fields",
    [
        {"args": json.dumps({"entrypoint": ["python", "-c"], "cmd": ["print('hi there')"]})},
        {"args": json.dumps({"cmd": ["python", "-c", "print('hi there')"]})},
        {"args": shlex.join(["python", "-c", "print('hi there')"])},
        {"args": "", "entrypoint": ["python", "-c"], "cmd": ["print('hi there')"]},
        {"args": ""},
    ],
)
def test_command_comes_in_many_forms(tmp_path: Path, fields: dict[str, object]) -> None:
    """Arrays, JSON in args, one string, or the image's own."""
    image = ("python", "-c", "print('hi there')")
    with FakeRunPod(pace=Pace(0, 0), later=True, folder=tmp_path / "d", image_command=image) as fake:
        with runpod_orders.client(fake) as client:
            pod_id = client.post("/pods", json=order(**fields)).json()["id"]
        assert "hi there" == first_line(fake, pod_id)


@pytest.mark.parametrize("code", [0, 3])
def test_main_process_that_ends_is_started_again(live: FakeRunPod, rent: httpx.Client, code: int) -> None:
    """Whatever its exit code; its disk stays, its pod stays RUNNING."""
    script = f"open('starts', 'a').write('x'); print(len(open('starts').read()), flush=True); raise SystemExit({code})"
    pod_id = rent.post("/pods", json=order(script=script)).json()["id"]
    assert eventually(lambda: live.pods[0].starts >= 3)
    assert eventually(lambda: ["1", "2", "3"] == told(live, pod_id)[:3])
    assert f"system: container exited with code {code}" in live.logs(pod_id)
    assert "RUNNING" == rent.get(f"/pods/{pod_id}").json()["status"]


def test_command_that_does_not_exist_is_told_in_the_system_log(live: FakeRunPod, rent: httpx.Client) -> None:
    """And tried again, as a restart loop."""
    pod_id = rent.post("/pods", json=order(args="/no/such/program")).json()["id"]
    assert eventually(lambda: any("failed to start container" in line for line in live.logs(pod_id)))


def test_terminated_container_gets_sigterm_then_sigkill(live: FakeRunPod, rent: httpx.Client) -> None:
    """The whole session: a child in a group of its own ends, too."""
    script = (
        "import os, signal, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], process_group=0)\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('asked', flush=True))\n"
        "print(os.getpid(), child.pid, flush=True)\n"
        "while True: time.sleep(1)"
    )
    pod_id = rent.post("/pods", json=order(script=script)).json()["id"]
    pids = [int(pid) for pid in first_line(live, pod_id).split()]
    assert [True, True] == [is_alive(pid) for pid in pids]
    assert 204 == rent.delete(f"/pods/{pod_id}").status_code
    assert eventually(lambda: not any(is_alive(pid) for pid in pids))
    assert "asked" == told(live, pod_id)[-1]


def test_stopped_container_starts_again_on_its_disk(live: FakeRunPod, rent: httpx.Client) -> None:
    """Stop ends the process; start begins a new one."""
    script = "import os, time; open('n', 'a').write('x'); print(len(open('n').read()), flush=True); time.sleep(60)"
    pod_id = rent.post("/pods", json=order(script=script)).json()["id"]
    assert "1" == first_line(live, pod_id)
    for action in ("stop", "start", "restart"):
        assert eventually(lambda: rent.get(f"/pods/{pod_id}").json()["status"] in ("RUNNING", "EXITED"))
        assert 200 == rent.post(f"/pods/{pod_id}/action", json={"action": action}).status_code
    assert eventually(lambda: told(live, pod_id)[-1] in ("2", "3"))


def test_pods_own_key_ends_its_pod_and_nothing_else(live: FakeRunPod, rent: httpx.Client) -> None:
    """No list, no look, no other pod."""
    ids = [rent.post("/pods", json=order(name, script=TELL_ENV)).json()["id"] for name in "ab"]
    key = json.loads(first_line(live, ids[0]))["RUNPOD_API_KEY"]
    with runpod_orders.client(live, key) as inside:
        assert 403 == inside.get("/pods").status_code == inside.delete(f"/pods/{ids[1]}").status_code
        assert 403 == inside.get(f"/pods/{ids[0]}").status_code
        assert 204 == inside.delete(f"/pods/{ids[0]}").status_code
    assert ["TERMINATED", "RUNNING"] == [pod.status for pod in live.pods]


def test_pods_own_key_may_be_refused(live: FakeRunPod, rent: httpx.Client) -> None:
    """As some users report."""
    live.faults.next("create", Fault.KEY_FORBIDDEN)
    pod_id = rent.post("/pods", json=order(script=TELL_ENV)).json()["id"]
    key = json.loads(first_line(live, pod_id))["RUNPOD_API_KEY"]
    with runpod_orders.client(live, key) as inside:
        assert 403 == inside.delete(f"/pods/{pod_id}").status_code


def test_dead_network_reaches_no_marketplace(live: FakeRunPod, rent: httpx.Client) -> None:
    """RUNNING, and the container talks to a port where nobody listens."""
    live.faults.next("create", Fault.NETWORK_DEAD)
    env = {"MP_API_URL": "http://127.0.0.1:8000"}
    pod_id = rent.post("/pods", json=order(script=TELL_ENV, env=env)).json()["id"]
    assert "http://127.0.0.1:9" == json.loads(first_line(live, pod_id))["MP_API_URL"]
    assert "RUNNING" == rent.get(f"/pods/{pod_id}").json()["status"]


def test_vanished_pods_container_ends(live: FakeRunPod, rent: httpx.Client) -> None:
    """On its time, without a call."""
    live.faults.next("create", Fault.VANISHES, seconds=1.5)
    pod_id = rent.post("/pods", json=order(script="import os, time; print(os.getpid(), flush=True); time.sleep(60)"))
    pid = int(first_line(live, pod_id.json()["id"]))
    assert eventually(lambda: not is_alive(pid))
    assert "TERMINATED" == live.pods[0].status


def test_container_ends_when_the_money_does_though_nobody_asks(live: FakeRunPod, rent: httpx.Client) -> None:
    """The kill is RunPod's own."""
    live.set_credit("rp-key", 1)
    script = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    pid = int(first_line(live, rent.post("/pods", json=order(script=script)).json()["id"]))
    live.clock.advance(3 * 3_600)
    assert eventually(lambda: not is_alive(pid))


def test_a_program_of_its_own_whose_containers_die_with_it() -> None:
    """``python -m mp_kit.testing.fake_runpod`` says where it listens; kill -9 leaves nothing behind."""
    command = [sys.executable, "-m", "mp_kit.testing.fake_runpod", "--keys", "mine=5", "--pull", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    word, url = process.stdout.readline().split()
    assert "ready" == word
    where = Path(process.stdout.readline().split()[1]) / "pids"
    script = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], process_group=0)\n"
        "open(os.environ['WHERE'], 'w').write(f'{os.getpid()} {child.pid}')\n"
        "time.sleep(60)"
    )
    with httpx.Client(headers={"Authorization": "Bearer mine", "User-Agent": "tests"}) as client:
        client.post(f"{url}/pods", json=order(script=script, env={"WHERE": str(where)}))
    assert eventually(lambda: where.exists() and bool(where.read_text()))
    pids = [int(pid) for pid in where.read_text().split()]
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert eventually(lambda: not any(is_alive(pid) for pid in pids))
    shutil.rmtree(where.parent)


def test_real_trainer_ends_its_pod(live: FakeRunPod, rent: httpx.Client) -> None:
    """Without a command the image's own runs; one that is told nothing says so, and its first process ends the pod."""
    pod_id = rent.post("/pods", json=order(args="", env={"MP_RUNPOD_URL": live.url})).json()["id"]
    assert eventually(lambda: live.pods[0].status == "TERMINATED", 60)
    assert any("MP_RUN_TOKEN is missing" in line for line in told(live, pod_id))
    assert ["delete"] == [request.operation for request in live.requests[1:]]
    live.violations.check()
