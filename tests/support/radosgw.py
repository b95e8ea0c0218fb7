"""A real S3 server for tests: one monitor, one OSD in memory and a gateway, all under one folder, by Debian's packages.

They need no root, no manager and no system paths, and stop in the order in which they do not hang: the gateway first.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = ("radosgw", "radosgw-admin", "ceph", "ceph-mon", "ceph-osd", "ceph-authtool", "monmaptool")
ACCESS_KEY = "TESTACCESSKEY"
SECRET_KEY = "made-up-secret-of-the-test-server"
_START_SECONDS = 60
_POLL_SECONDS = 0.05

_CONF = """
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{mon_port}
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
public network = 127.0.0.0/8
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon data avail crit = 1
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 4G
paxos propose interval = 0.05
paxos min wait = 0.01
rgw frontends = beast endpoint=127.0.0.1:{s3_port}
keyring = {folder}/keyring
mon data = {folder}/mon
osd data = {folder}/osd
run dir = {folder}
log file = {folder}/$name.log
admin socket = {folder}/$name.$pid.asok
pid file = {folder}/$name.pid
crash dir = {folder}/crash
"""


@dataclass(frozen=True)
class Gateway:
    """A running S3 server."""

    endpoint: str
    access_key: str = ACCESS_KEY
    secret_key: str = field(default=SECRET_KEY, repr=False)

    @property
    def env(self) -> dict[str, str]:
        """What a store takes from the environment to reach it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
        }


def missing() -> list[str]:
    """Programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


@contextlib.contextmanager
def serving() -> Iterator[Gateway]:
    """An S3 server for the length of a block; its data goes with it."""
    # A socket's path has room for 107 characters: pytest's folders are too deep.
    folder = Path(tempfile.mkdtemp(prefix="mp-rgw-"))
    running: list[subprocess.Popen[bytes]] = []
    try:
        yield _start(folder, running)
    finally:
        for process in reversed(running):
            _stop(process)
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path, running: list[subprocess.Popen[bytes]]) -> Gateway:
    fsid, osd_id = str(uuid.uuid4()), str(uuid.uuid4())
    mon_port, s3_port = _free_port(), _free_port()
    conf = folder / "ceph.conf"
    conf.write_text(_CONF.format(fsid=fsid, mon_port=mon_port, s3_port=s3_port, folder=folder))
    for name in ("mon", "osd", "crash"):
        (folder / name).mkdir()
    keyring = str(folder / "keyring")
    _run("ceph-authtool", "-C", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
    everything = [part for daemon in ("mon", "osd", "mgr", "mds") for part in ("--cap", daemon, "allow *")]
    _run("ceph-authtool", keyring, "--gen-key", "-n", "client.admin", *everything)
    profile = ("--cap", "mon", "allow profile osd", "--cap", "osd", "allow *")
    _run("ceph-authtool", keyring, "--gen-key", "-n", "osd.0", *profile)
    monmap = str(folder / "monmap")
    _run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{mon_port}]", monmap)
    _run("ceph-mon", "-c", str(conf), "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
    running.append(_daemon(conf, "ceph-mon", "-i", "a"))
    _run("ceph", "-c", str(conf), "--connect-timeout", "30", "osd", "new", osd_id)
    _run("ceph-osd", "-c", str(conf), "-i", "0", "--mkfs", "--osd-uuid", osd_id)
    running.append(_daemon(conf, "ceph-osd", "-i", "0"))
    _run(
        "radosgw-admin", "-c", str(conf), "user", "create", "--uid=test", "--display-name=test",
        f"--access-key={ACCESS_KEY}", f"--secret-key={SECRET_KEY}",
    )  # fmt: skip
    running.append(_daemon(conf, "radosgw", "-n", "client.admin"))
    _await_port(s3_port, running[-1])
    return Gateway(f"http://127.0.0.1:{s3_port}")


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_START_SECONDS, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{argv[0]} ended with {done.returncode}: {done.stderr[-2000:]}")


def _daemon(conf: Path, *argv: str) -> subprocess.Popen[bytes]:
    from mp_kit.server.spawning import after_fork

    with (conf.parent / f"{argv[0]}.out").open("wb") as out:
        return subprocess.Popen(
            [argv[0], "-f", "-c", str(conf), *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, "TMPDIR": str(conf.parent)},
            preexec_fn=after_fork(death_signal=signal.SIGKILL),  # noqa: PLW1509 - system calls only
        )


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"the gateway ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(_POLL_SECONDS)
    raise RuntimeError("the gateway did not come up")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
