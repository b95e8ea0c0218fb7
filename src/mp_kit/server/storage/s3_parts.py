"""Uploads in parts to a bucket: planned by what lies there already, joined once nothing is missing.

1. The bucket is the memory. An upload that was begun is found by its key, its parts are listed, and only what is
   missing gets a URL: a sender that was restarted, and a server that was, go on where the bytes are.
2. The size of the parts follows from the size of the file, so every plan for a file cuts it alike.
3. A part counts when its size is right; the bytes are proved by the SHA-256 of the joined object, as for every upload.
4. Nothing is joined that has a hole, and an upload that was joined stays joined.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mp_kit.server.storage.base import Part, PartsPlan

__all__ = ["MOST_PARTS", "S3Parts", "part_size"]

MOST_PARTS = 1_000
"""A tenth of what S3 takes: an answer with a URL for each stays below a megabyte."""

_MIB = 1 << 20


def part_size(size_bytes: int, least: int) -> int:
    """Bytes of each part but the last, in whole MiB beyond ``least``: at most ``MOST_PARTS`` of them make the file."""
    needed = -(-size_bytes // MOST_PARTS)
    return max(least, -(-needed // _MIB) * _MIB)


class S3Parts:
    """Plans one object's upload.

    Args:
        filesystem: Asks the server.
        bucket: The bucket.
        name: The object's full name in it.
        least: Smallest size of a part; S3 takes none below 5 MiB.
    """

    def __init__(self, filesystem: Any, bucket: str, name: str, least: int) -> None:
        self._fs = filesystem
        self._where = {"Bucket": bucket, "Key": name}
        self._least = least

    def plan(self, size_bytes: int, expires_at: datetime) -> PartsPlan:
        """What is missing of an object of this size; it is joined when nothing is."""
        upload = self._begun()
        if upload is None and self._is_there(size_bytes):
            return PartsPlan(complete=True)
        upload = upload or str(self._fs.call_s3("create_multipart_upload", **self._where)["UploadId"])
        wanted, stored = self._cut(size_bytes), self._stored(upload)
        missing = [part for part in wanted if stored.get(part.number, ("", -1))[1] != part.size_bytes]
        if not missing:
            self._join(upload, {part.number: stored[part.number][0] for part in wanted})
            return PartsPlan(complete=True)
        seconds = int((expires_at - datetime.now(UTC)).total_seconds())
        return PartsPlan(missing=tuple(self._signed(part, upload, seconds) for part in missing))

    def _begun(self) -> str | None:
        """The newest upload that was begun and not joined."""
        bucket, name = self._where["Bucket"], self._where["Key"]
        found = self._fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=name).get("Uploads", [])
        own = [upload for upload in found if upload["Key"] == name]
        return str(max(own, key=lambda upload: upload["Initiated"])["UploadId"]) if own else None

    def _is_there(self, size_bytes: int) -> bool:
        try:
            head = self._fs.call_s3("head_object", **self._where)
        except FileNotFoundError:
            return False
        return int(head["ContentLength"]) == size_bytes

    def _cut(self, size_bytes: int) -> list[Part]:
        size = part_size(size_bytes, self._least)
        return [
            Part(number, offset, min(size, size_bytes - offset))
            for number, offset in enumerate(range(0, size_bytes, size), start=1)
        ]

    def _stored(self, upload: str) -> Mapping[int, tuple[str, int]]:
        """ETag and size of each part that lies there, by number."""
        known: dict[int, tuple[str, int]] = {}
        marker = 0
        while True:
            page = self._fs.call_s3("list_parts", **self._where, UploadId=upload, PartNumberMarker=marker)
            for part in page.get("Parts", []):
                known[int(part["PartNumber"])] = (str(part["ETag"]), int(part["Size"]))
            if not page.get("IsTruncated"):
                return known
            marker = int(page["NextPartNumberMarker"])

    def _join(self, upload: str, etags: Mapping[int, str]) -> None:
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in sorted(etags.items())]
        self._fs.call_s3("complete_multipart_upload", **self._where, UploadId=upload, MultipartUpload={"Parts": parts})

    def _signed(self, part: Part, upload: str, seconds: int) -> Part:
        where = f"{self._where['Bucket']}/{self._where['Key']}"
        url = self._fs.url(where, seconds, "upload_part", UploadId=upload, PartNumber=part.number)
        return Part(part.number, part.offset, part.size_bytes, str(url))
