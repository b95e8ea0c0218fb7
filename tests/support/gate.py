"""A TCP proxy that lets so many bytes through per connection, then holds.

What "in the middle of a file" means is certain then, and every byte that passed is counted.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

PIECE = 64 * 1024
_FILE = re.compile(rb"GET (/files/[^? ]+)[^\r]*\r\n(?:[^\r]+\r\n)*?\r\n")
_RANGE = re.compile(rb"range: bytes=(\d+)-(\d+)\r\n", re.IGNORECASE)


@dataclass
class Gate:
    """What a proxy does and has seen; only answers are held, requests always pass.

    Args:
        upstream: The port behind.
        port: Its own.
        limit: Bytes of answers that a connection may bring before it is held; None for no limit.
        asked: Ranges of files that were asked for, start and end (excluded); None where a file was asked for whole.
        brought: Bytes of answers that passed.
        held: Connections that stand still now.
        refused: Connections that found nobody behind.
        relays: Connections that pass through now.
    """

    upstream: int
    port: int = 0
    limit: int | None = None
    asked: list[tuple[int, int] | None] = field(default_factory=list)
    brought: int = 0
    held: int = 0
    refused: int = 0
    relays: int = 0
    moved: threading.Condition = field(default_factory=threading.Condition)

    def hold_after(self, limit: int) -> None:
        """From now on each new connection stands still after so many bytes."""
        with self.moved:
            self.limit = limit

    def let_go(self) -> None:
        """Whatever is held goes on, and nothing is held any more."""
        with self.moved:
            self.limit = None
            self.moved.notify_all()

    def await_held(self, count: int, seconds: float = 60) -> None:
        """Waits until so many connections stand still; the test fails when they do not."""
        with self.moved:
            assert self.moved.wait_for(lambda: self.held >= count, seconds), f"{self.held} of {count} are held"

    def await_refused(self, seconds: float = 60) -> None:
        """Waits until somebody found nobody behind."""
        with self.moved:
            assert self.moved.wait_for(lambda: self.refused > 0, seconds), "nobody came while the server was away"

    def forget(self, seconds: float = 60) -> None:
        """Lets everything go, and counts from zero when the last connection has ended: its client must be gone."""
        self.let_go()
        with self.moved:
            assert self.moved.wait_for(lambda: self.relays == 0, seconds), f"{self.relays} connections did not end"
            self.asked.clear()
            self.brought = self.refused = 0

    def count(self, *, relays: int = 0, refused: int = 0) -> None:
        """Counts connections in, or out."""
        with self.moved:
            self.relays += relays
            self.refused += refused
            self.moved.notify_all()

    def pass_through(self, before: int, length: int) -> None:
        """Counts bytes in, and waits while their connection has had its share."""
        with self.moved:
            if self.limit is not None and before + length > self.limit:
                self.held += 1
                self.moved.notify_all()
                self.moved.wait_for(lambda: self.limit is None)
                self.held -= 1
            self.brought += length

    def hear(self, heard: bytes) -> bytes:
        """Notes the requests for files in what a client said; what is left over may be the beginning of another."""
        for request in _FILE.finditer(heard):
            found = _RANGE.search(request[0])
            with self.moved:
                self.asked.append((int(found[1]), int(found[2]) + 1) if found else None)
        return heard.rpartition(b"\r\n\r\n")[2]


@contextmanager
def opened(upstream: int, port: int = 0) -> Iterator[Gate]:
    """Runs a gate for the length of a block."""
    server = socket.create_server(("127.0.0.1", port), backlog=64)
    gate = Gate(upstream, server.getsockname()[1])
    thread = threading.Thread(target=_accept, args=(server, gate), daemon=True)
    thread.start()
    try:
        yield gate
    finally:
        gate.let_go()
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(10)


def _accept(server: socket.socket, gate: Gate) -> None:
    with suppress(OSError):  # closed: the block is over
        while True:
            client, _ = server.accept()
            gate.count(relays=1)
            threading.Thread(target=_relay, args=(client, gate), daemon=True).start()


def _relay(client: socket.socket, gate: Gate) -> None:
    try:
        with client, socket.create_connection(("127.0.0.1", gate.upstream)) as behind:
            back = threading.Thread(target=_bring, args=(behind, client, gate), daemon=True)
            back.start()
            _ask(client, behind, gate)
            back.join()
    except OSError:
        gate.count(refused=1)
    finally:
        gate.count(relays=-1)


def _ask(client: socket.socket, behind: socket.socket, gate: Gate) -> None:
    heard = b""
    with suppress(OSError):
        while said := client.recv(PIECE):
            heard = gate.hear(heard + said)
            behind.sendall(said)
    with suppress(OSError):
        behind.shutdown(socket.SHUT_RDWR)


def _bring(behind: socket.socket, client: socket.socket, gate: Gate) -> None:
    passed = 0
    with suppress(OSError):
        while answer := behind.recv(PIECE):
            gate.pass_through(passed, len(answer))
            passed += len(answer)
            client.sendall(answer)
    with suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)
