"""The stores that one suite runs against: files behind a real edge, and a bucket of a real S3 server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import edges
import httpx
import pytest
import radosgw
import s3fs

from mp_kit.server.house import House
from mp_kit.server.processes import free_port
from mp_kit.server.storage import ObjectStore
from mp_kit.server.wiring import build

BUCKET = "mp-tests"


@dataclass(frozen=True)
class Shelf:
    """A store under test.

    Args:
        kind: ``local`` or ``s3``.
        house: A marketplace whose edge runs and whose objects lie in the store.
        http: Asks URLs, and nobody's token is in it.
    """

    kind: str
    house: House
    http: httpx.Client

    @property
    def store(self) -> ObjectStore:
        """The store."""
        return self.house.store

    def read(self, key: str) -> bytes:
        """All bytes of an object."""
        with self.store.open(key) as file:
            return file.read()


@pytest.fixture(scope="session")
def gateway() -> Iterator[radosgw.Gateway]:
    """A real S3 server with an empty bucket."""
    absent = radosgw.missing()
    if absent:
        pytest.skip(
            f"no S3 server: {', '.join(absent)} missing; as root, `python scripts/test_packages.py` installs them"
        )
    with radosgw.serving() as running:
        filesystem = s3fs.S3FileSystem(
            key=running.access_key, secret=running.secret_key, endpoint_url=running.endpoint, skip_instance_cache=True
        )
        filesystem.call_s3("create_bucket", Bucket=BUCKET)
        yield running


@pytest.fixture(scope="module", params=["local", "s3"])
def shelf(request: pytest.FixtureRequest, house: House) -> Iterator[Shelf]:
    """Each store in turn."""
    running = request.getfixturevalue("gateway") if request.param == "s3" else None
    with standing(house, running) as made:
        yield made


@pytest.fixture(scope="module")
def s3_shelf(house: House, gateway: radosgw.Gateway) -> Iterator[Shelf]:
    """The one in S3 alone."""
    with standing(house, gateway) as made:
        yield made


@contextmanager
def standing(house: House, gateway: radosgw.Gateway | None) -> Iterator[Shelf]:
    """A marketplace with its edge, over files or over a fresh prefix of the bucket."""
    settings = replace(house.settings, base_url=f"http://127.0.0.1:{free_port()}")
    if gateway is not None:
        settings = replace(settings, store_url=f"s3://{BUCKET}/{uuid.uuid4().hex[:12]}", store_env=gateway.env)
    built = build(settings)
    with edges.serving(built), httpx.Client(timeout=30) as http:
        yield Shelf("local" if gateway is None else "s3", built, http)
    built.close()
