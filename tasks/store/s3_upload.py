"""Uploads a large object in parts.

Parts are read one after another and sent a few at a time. What an interrupted upload of the same
object left is taken up: a part that is there is not sent again if its ETag is the MD5 of ours. An
error of the network or the server leaves the parts for the next try; anything else removes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.errors import HostUnfit
from tasks.store.s3_access import THREADS
from tasks.store.s3_errors import UNKNOWN, code_of, in_words

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import HeadObjectOutputTypeDef

PART_BYTES = 8 * 2**20

Sent = tuple[int, str, int]
"""A part that has arrived: its number from 1, its ETag, its size."""


def metadata(answer: HeadObjectOutputTypeDef) -> dict[str, str]:
    """What was noted at an object; not every server keeps the case of the names."""
    return {name.lower(): value for name, value in answer["Metadata"].items()}


def interrupted(client: S3Client, bucket: str, prefix: str) -> Iterator[tuple[str, str, float]]:
    """Key, id and beginning of each upload below `prefix` that was neither ended nor aborted; none
    if the server cannot tell."""
    from botocore.exceptions import ClientError

    pages = client.get_paginator("list_multipart_uploads")
    try:
        for page in pages.paginate(Bucket=bucket, Prefix=prefix):
            for found in page.get("Uploads", []):
                yield found["Key"], found["UploadId"], found["Initiated"].timestamp()
    except ClientError as error:  # rclone says NoSuchUpload where there are none
        if code_of(error) not in (*UNKNOWN, "NoSuchUpload"):
            raise


@dataclass(frozen=True, slots=True)
class Upload:
    """The upload of one object; `options` are those of the object."""

    client: S3Client
    bucket: str
    key: str
    url: str
    options: dict[str, Any]

    def run(self, parts: Iterable[bytes], on_bytes: Callable[[int], object]) -> None:
        """Upload `parts` and make them the object."""
        upload_id, there = self._begun() or (self._begin(), {})

        def send(number: int, data: bytes) -> Sent:
            return self._send(upload_id, number, data, there.get(number, ""))

        try:
            sent = _in_threads(send, parts, on_bytes)
            self._complete(upload_id, sent, resumed=bool(there))
        except (HostUnfit, OSError):
            raise
        except BaseException:
            self._abort(upload_id)
            raise

    def copy(self, source: Any, size: int, part_bytes: int) -> None:
        """Make the object from `source` in the same bucket, by the server."""
        upload_id = self._begin()
        try:
            with in_words(self.url):
                sent = [
                    self._copy_part(upload_id, number, source, start, min(part_bytes, size - start))
                    for number, start in enumerate(range(0, size, part_bytes), start=1)
                ]
            self._complete(upload_id, sent)
        except BaseException:
            self._abort(upload_id)
            raise

    def _copy_part(self, upload_id: str, number: int, source: Any, start: int, length: int) -> Sent:
        answer = self.client.upload_part_copy(
            **self._names(upload_id),
            PartNumber=number,
            CopySource=source,
            CopySourceRange=f"bytes={start}-{start + length - 1}",
        )
        return number, answer["CopyPartResult"]["ETag"], length

    # Beginning

    def _begin(self) -> str:
        with in_words(self.url):
            answer = self.client.create_multipart_upload(
                Bucket=self.bucket, Key=self.key, **self.options
            )
        return answer["UploadId"]

    def _begun(self) -> tuple[str, dict[int, str]] | None:
        """The newest interrupted upload of this object, and the ETags of its parts. None if it is
        not known whether that would be the same content."""
        if "Metadata" not in self.options:
            return None
        with in_words(self.url):
            mine = [
                (began, upload_id)
                for key, upload_id, began in interrupted(self.client, self.bucket, self.key)
                if key == self.key
            ]
            if not mine:
                return None
            _, upload_id = max(mine)
            return upload_id, dict(self._there(upload_id))

    def _there(self, upload_id: str) -> Iterator[tuple[int, str]]:
        for page in self.client.get_paginator("list_parts").paginate(**self._names(upload_id)):
            for part in page.get("Parts", []):
                yield part["PartNumber"], part["ETag"]

    # Parts

    def _send(self, upload_id: str, number: int, data: bytes, there: str) -> Sent:
        if there and there.strip('"') == hashlib.md5(data, usedforsecurity=False).hexdigest():
            return number, there, len(data)
        with in_words(self.url):
            answer = self.client.upload_part(**self._names(upload_id), PartNumber=number, Body=data)
        return number, answer["ETag"], len(data)

    # Ending

    def _complete(self, upload_id: str, sent: list[Sent], *, resumed: bool = False) -> None:
        parts: Any = [{"PartNumber": number, "ETag": etag} for number, etag, _ in sent]
        with in_words(self.url):
            try:
                self.client.complete_multipart_upload(
                    **self._names(upload_id), MultipartUpload={"Parts": parts}
                )
            except self.client.exceptions.NoSuchUpload:  # asked again after a lost answer?
                resumed = True
        if resumed:
            self._require(sum(size for _, _, size in sent))

    def _require(self, size: int) -> None:
        """`HostUnfit` if the object is not what was meant to be there."""
        with in_words(self.url):
            found = self.client.head_object(Bucket=self.bucket, Key=self.key)
        known = self.options.get("Metadata", {})
        if found["ContentLength"] != size or not known.items() <= metadata(found).items():
            raise HostUnfit(f"{self.url}: the server has something else than was sent")

    def _abort(self, upload_id: str) -> None:
        """Leave no parts behind; if that fails, they are swept later."""
        with suppress(HostUnfit, OSError), in_words(self.url):
            self.client.abort_multipart_upload(**self._names(upload_id))

    def _names(self, upload_id: str) -> Any:
        return {"Bucket": self.bucket, "Key": self.key, "UploadId": upload_id}


def _in_threads(
    send: Callable[[int, bytes], Sent], parts: Iterable[bytes], on_bytes: Callable[[int], object]
) -> list[Sent]:
    """Send the parts, at most THREADS at a time, so that only so many are in memory; what has
    arrived, in order."""
    under_way: set[Future[Sent]] = set()
    arrived: list[Sent] = []

    def wait_for(until: str) -> None:
        nonlocal under_way
        done, under_way = wait(under_way, return_when=until)
        for part in done:
            arrived.append(part.result())
            on_bytes(arrived[-1][2])

    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="upload")
    try:
        for number, part in enumerate(parts, start=1):
            under_way.add(pool.submit(send, number, part))
            if len(under_way) == THREADS:
                wait_for(FIRST_COMPLETED)
        while under_way:
            wait_for(FIRST_COMPLETED)
        return sorted(arrived)
    finally:
        pool.shutdown(cancel_futures=True)
