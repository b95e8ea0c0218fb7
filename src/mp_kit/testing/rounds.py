"""The fake's one round: real Parquet files, a real manifest, URLs that answer ranges."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import httpx
import pyarrow as pa
import pyarrow.parquet as pq

from mp_kit import errors
from mp_kit.contracts import (
    Footer,
    Manifest,
    ManifestFile,
    Round,
    RoundFile,
    RowGroup,
    SignedUrl,
    SignedUrls,
    SignedUrlsRequest,
)
from mp_kit.market.rowgroups import describe
from mp_kit.signing import Signer, canonical_bytes

TTL_SECONDS = 900
Tables = Mapping[tuple[str, str], pa.Table]
"""Tables by (role, symbol)."""


def sample_tables(rows: int = 64) -> dict[tuple[str, str], pa.Table]:
    """Small deterministic tables for the roles train, validation and features of EURUSD."""
    tables = {}
    for number, role in enumerate(("train", "validation", "features")):
        start = datetime(2026, 1, 5 + 5 * number, tzinfo=UTC)
        times = [start + timedelta(hours=hour) for hour in range(rows)]
        close = [1.1 + 0.001 * ((7 * hour) % 13) for hour in range(rows)]
        columns = {"timestamp": pa.array(times, pa.timestamp("us", tz="UTC")), "close": close}
        tables[role, "EURUSD"] = pa.table(columns)
    return tables


class Shelf:
    """One round and its files.

    Args:
        url: Root of the marketplace.
        tables: The round's tables.
        now: The clock.
    """

    def __init__(self, url: str, tables: Tables, now: Callable[[], datetime]) -> None:
        self._url_root = url
        self._now = now
        self.files: dict[str, bytes] = {}
        self.signer = Signer(secrets.token_bytes(32))
        self._publish(tables)

    def _publish(self, tables: Tables) -> None:
        files = [self._file(role, symbol, table) for (role, symbol), table in tables.items()]
        self.manifest = Manifest(
            round_id=f"round_{self._now():%Y%m%d}",
            name="Fake round",
            timeframe="1h",
            symbols=sorted({symbol for _, symbol in tables}),
            horizon=1,
            embargo=0,
            created_at=self._now(),
            source={"kind": "fake"},
            code_version="fake",
            files=files,
        )
        self.manifest_bytes = canonical_bytes(self.manifest.model_dump(mode="json"))

    def _file(self, role: str, symbol: str, table: pa.Table) -> ManifestFile:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        content = sink.getvalue()
        found = describe(content)
        self.files[found.sha256] = content.to_pybytes()
        return ManifestFile(
            name=f"{role}-{symbol}.parquet",
            type=role,
            symbol=symbol,
            size_bytes=found.size_bytes,
            sha256=found.sha256,
            rows=table.num_rows,
            columns={column.name: str(column.type) for column in table.schema},
            row_groups=[RowGroup.model_validate(asdict(group)) for group in found.row_groups],
            footer=Footer.model_validate(asdict(found.footer)),
        )

    def check(self, round_id: str) -> None:
        """Refuses an id that is not the round's."""
        if round_id not in {"current", self.manifest.round_id}:
            raise errors.NotFoundError(f"No round {round_id}.")

    def round(self) -> Round:
        """The round as the wire shows it."""
        names = set(RoundFile.model_fields)
        return Round(
            round_id=self.manifest.round_id,
            name=self.manifest.name,
            schema_version=self.manifest.manifest_version,
            is_current=True,
            created_at=self.manifest.created_at,
            files=[RoundFile.model_validate(file.model_dump(include=names)) for file in self.manifest.files],
        )

    def signed_urls(self, asked: SignedUrlsRequest) -> SignedUrls:
        """Fresh URLs."""
        self.check(asked.round_id)
        ends = self._now() + timedelta(seconds=TTL_SECONDS)
        urls = [
            SignedUrl(name=f.name, url=self.url(f.sha256), expires_at=ends, size_bytes=f.size_bytes, sha256=f.sha256)
            for f in self.manifest.files
            if asked.files is None or f.name in asked.files
        ]
        return SignedUrls(urls=urls, round_id=self.manifest.round_id, ttl_seconds=TTL_SECONDS)

    def url(self, digest: str) -> str:
        """A URL that looks signed."""
        return f"{self._url_root}/files/{digest}?signature={base64.urlsafe_b64encode(secrets.token_bytes(9)).decode()}"

    def serve(self, request: httpx.Request, digest: str) -> httpx.Response:
        """Answers a GET of a file, ranges and If-Range included."""
        content, etag = self.files[digest], f'"{digest}"'
        asked = request.headers.get("Range")
        if asked is None or request.headers.get("If-Range", etag) != etag:
            return httpx.Response(200, content=content, headers={"ETag": etag})
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last), len(content) - 1)
        headers = {"ETag": etag, "Content-Range": f"bytes {start}-{end}/{len(content)}"}
        return httpx.Response(206, content=content[start : end + 1], headers=headers)
