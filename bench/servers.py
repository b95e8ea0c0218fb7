"""Servers for the transfer benchmark, each a process of its own that prints its port.

``static`` serves a folder by ``sendfile``, as fast as Python lets a kernel be; ``edge`` serves it through the edge's
own handler of signed URLs; ``proxy`` passes to another port, 40 ms later and each connection capped.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DELAY_SECONDS = 0.040
CAP_BYTES_PER_SECOND = 650_000
HEAD_END = b"\r\n\r\n"
PIECE = 16 * 1024
_RANGE = re.compile(rb"\r\nrange: bytes=(\d+)-(\d+)\r\n", re.IGNORECASE)


@contextmanager
def started(kind: str, *arguments: str) -> Iterator[int]:
    """Runs a server for the length of a block; gives its port."""
    command = [sys.executable, "-m", "bench.servers", kind, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def _listen() -> socket.socket:
    server = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(server.getsockname()[1], flush=True)
    return server


def _serve_static(folder: Path) -> None:
    server = _listen()
    while True:
        client, _ = server.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_answer_all, args=(client, folder), daemon=True).start()


def _answer_all(client: socket.socket, folder: Path) -> None:
    received = b""
    with client:
        try:
            while chunk := client.recv(PIECE):
                received += chunk
                while HEAD_END in received:
                    head, _, received = received.partition(HEAD_END)
                    _answer(client, folder, head)
        except ConnectionError:
            return


def _answer(client: socket.socket, folder: Path, head: bytes) -> None:
    name = head.split(b" ", 2)[1].decode().partition("?")[0].lstrip("/")
    with (folder / name).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        asked = _RANGE.search(head + b"\r\n")
        start, end = (int(asked[1]), int(asked[2]) + 1) if asked else (0, size)
        status = f"206 Partial Content\r\nContent-Range: bytes {start}-{end - 1}/{size}" if asked else "200 OK"
        client.sendall(f'HTTP/1.1 {status}\r\nContent-Length: {end - start}\r\nETag: "{size}"\r\n\r\n'.encode())
        while start < end:
            start += os.sendfile(client.fileno(), file.fileno(), start, end - start)


def _serve_edge(folder: Path) -> None:
    """The edge's handler over a store, with all its checks; prints the port, then a signed URL per object."""
    from datetime import UTC, datetime, timedelta
    from types import SimpleNamespace

    import uvicorn
    from litestar import Litestar
    from litestar.datastructures import State

    from mp_kit.server.edge.files import files
    from mp_kit.server.storage import LocalStore

    listening = socket.create_server(("127.0.0.1", 0), backlog=128)
    port = listening.getsockname()[1]
    store = LocalStore(folder, base_url=f"http://127.0.0.1:{port}", url_key="benchmark")
    ends = datetime.now(UTC) + timedelta(hours=1)
    (folder / "urls").write_text(
        "\n".join(f"{path.name} {store.presign('GET', path.name, ends)}" for path in sorted(folder.glob("*.bin")))
    )
    app = Litestar([files], state=State({"house": SimpleNamespace(store=store)}), openapi_config=None)
    print(port, flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False)).run([listening])


def _serve_proxy(upstream: int) -> None:
    server = _listen()
    while True:
        client, _ = server.accept()
        threading.Thread(target=_relay, args=(client, upstream), daemon=True).start()


def _relay(client: socket.socket, upstream: int) -> None:
    """Requests pass after the whole delay (it stands for the round trip); answers at the cap."""
    with client, socket.create_connection(("127.0.0.1", upstream)) as server:
        time.sleep(DELAY_SECONDS)  # the handshake's round trip
        back = threading.Thread(target=_pace, args=(server, client), daemon=True)
        back.start()
        try:
            while chunk := client.recv(PIECE):
                time.sleep(DELAY_SECONDS)
                server.sendall(chunk)
            server.shutdown(socket.SHUT_RDWR)
        except OSError:
            return
        finally:
            back.join()


def _pace(server: socket.socket, client: socket.socket) -> None:
    free = time.monotonic()
    try:
        while chunk := server.recv(PIECE):
            free = max(free, time.monotonic()) + len(chunk) / CAP_BYTES_PER_SECOND
            if (early := free - time.monotonic()) > 0:
                time.sleep(early)
            client.sendall(chunk)
        client.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def main() -> None:
    """Runs the server that was asked for until it is terminated."""
    kind, argument = sys.argv[1:]
    if kind == "proxy":
        _serve_proxy(int(argument))
    {"static": _serve_static, "edge": _serve_edge}[kind](Path(argument))


if __name__ == "__main__":
    main()
