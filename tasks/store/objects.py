"""The objects below `s3://bucket/prefix`: a thin client, for the store and for publishing.

Paths are relative to the prefix; URLs name keys as they are, without quoting. All methods raise
`HostUnfit` if the server cannot be reached or refuses; a missing object is `FileNotFoundError`, or
None where that is in the answer's type. Requests are tried again, parts of files one by one. Memory
is bounded: about `part_bytes * (THREADS + 1)` whatever is sent, a few pieces for what is read.
"""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tasks.errors import BadInput, HostUnfit
from tasks.store.s3_access import THREADS, Access, client
from tasks.store.s3_errors import MISSING, UNKNOWN, UNMET, code_of, in_words
from tasks.store.s3_reading import Reading
from tasks.store.s3_upload import PART_BYTES, Upload, interrupted, metadata

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import HeadObjectOutputTypeDef

COPY_MAX_BYTES = 5 * 2**30
"""A larger object is copied in parts."""

COPY_PART_BYTES = 2**30
PARTS_MAX = 10_000


class Stream(Protocol):
    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""


Content = bytes | Path | Stream
OnBytes = Callable[[int], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Object:
    """What the server knows of an object; `etag` without quotes, `modified` in seconds since 1970.
    `sha256` is what its writer noted, empty if it did not and in the answers of `list`; never a
    reason to trust it."""

    path: str
    size_bytes: int
    etag: str
    modified: float
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """An upload whose parts wait; `began` in seconds since 1970."""

    path: str
    upload_id: str
    began: float


@dataclass(frozen=True, slots=True)
class Conditions:
    """Which conditions of writing the endpoint keeps, as tried: some servers accept them and
    overwrite all the same."""

    absent: bool
    """`put_if_absent` never replaces an object."""

    match: bool
    """`put_if_match` never replaces another version than the one named."""


@dataclass(frozen=True, slots=True)
class Objects:
    """`Objects.at("s3://bucket/prefix", Access.of(settings))`."""

    bucket: str
    prefix: str
    access: Access
    part_bytes: int = PART_BYTES

    @classmethod
    def at(cls, url: str, access: Access) -> Objects:
        """`BadInput` if `url` is not `s3://bucket` or `s3://bucket/prefix`."""
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        if not url.startswith("s3://") or not bucket or "//" in prefix:
            raise BadInput(f"{url!r} is no place in S3", "such as s3://bucket/prefix")
        return cls(bucket, prefix.strip("/"), access)

    @property
    def url(self) -> str:
        return self.url_of("").rstrip("/")

    def url_of(self, path: str) -> str:
        return f"s3://{self.bucket}/{self._key(path)}"

    # Writing

    def put(
        self,
        path: str,
        content: Content,
        *,
        size_bytes: int = 0,
        sha256: str = "",
        content_type: str = "application/octet-stream",
        cache_control: str = "",
        on_bytes: OnBytes = int,
    ) -> None:
        """Write an object, whole or not at all; `content` is bytes, a file, or a stream that is
        read once (up to 78 GiB, or the `size_bytes` that are announced). `sha256` is noted at the
        object; with it, what a cut connection left of an earlier try is taken up again. `on_bytes`
        is told the size of each part that has arrived; what it raises, or reading `content`
        raises, ends the upload and leaves nothing."""
        about = {"ContentType": content_type, "CacheControl": cache_control}
        options: dict[str, Any] = {name: value for name, value in about.items() if value}
        if sha256:
            options["Metadata"] = {"sha256": sha256}
        if isinstance(content, Path):
            with content.open("rb") as file:
                self._put(path, file, self._part_of(content.stat().st_size), options, on_bytes)
        elif isinstance(content, bytes):
            self._put(path, BytesIO(content), self.part_bytes, options, on_bytes)
        else:
            self._put(path, content, self._part_of(size_bytes), options, on_bytes)

    def _put(
        self,
        path: str,
        stream: Stream,
        part_bytes: int,
        options: dict[str, Any],
        on_bytes: OnBytes,
    ) -> None:
        first = _read(stream, part_bytes)
        if len(first) < part_bytes:
            with in_words(self.url_of(path)):
                self._put_whole(path, first, options)
            on_bytes(len(first))
            return
        upload = Upload(self._client, self.bucket, self._key(path), self.url_of(path), options)
        upload.run(_parts(first, stream, part_bytes), on_bytes)

    def put_if_absent(self, path: str, data: bytes, content_type: str = "") -> str | None:
        """Write a small object if there is none; returns its ETag, None if there is one. Means
        something only where `probe` says so."""
        return self._put_if(path, data, content_type, {"IfNoneMatch": "*"})

    def put_if_match(self, path: str, data: bytes, etag: str, content_type: str = "") -> str | None:
        """Replace a small object if its ETag is still `etag`; returns the new one, None if it is
        not. Means something only where `probe` says so."""
        return self._put_if(path, data, content_type, {"IfMatch": f'"{etag}"'})

    def _put_if(
        self, path: str, data: bytes, content_type: str, condition: dict[str, str]
    ) -> str | None:
        from botocore.exceptions import ClientError

        writer = uuid.uuid4().hex
        options: dict[str, Any] = {**condition, "Metadata": {"writer": writer}}
        if content_type:
            options["ContentType"] = content_type
        with in_words(self.url_of(path)):
            try:
                return self._put_whole(path, data, options)
            except ClientError as error:
                if code_of(error) not in (*UNMET, *MISSING):
                    raise
            # A lost answer makes the client ask again, and the second answer is about our own.
            with suppress(FileNotFoundError):
                found = self._head(path)
                if metadata(found).get("writer") == writer:
                    return _bare(found["ETag"])
            return None

    def _put_whole(self, path: str, data: bytes, options: dict[str, Any]) -> str:
        answer = self._client.put_object(
            Bucket=self.bucket, Key=self._key(path), Body=data, **options
        )
        return _bare(answer["ETag"])

    def copy(self, source: str, target: str) -> None:
        """Copy an object within the bucket, by the server."""
        size = self._size(source)
        with in_words(self.url_of(source)):
            if size <= COPY_MAX_BYTES:
                self._client.copy_object(
                    Bucket=self.bucket, Key=self._key(target), CopySource=self._place(source)
                )
                return
            options: dict[str, Any] = {"Metadata": metadata(self._head(source))}
        upload = Upload(self._client, self.bucket, self._key(target), self.url_of(target), options)
        upload.copy(self._place(source), size, COPY_PART_BYTES)

    def delete(self, paths: Iterable[str]) -> None:
        """Remove objects; those that are not there are no error."""
        with ThreadPoolExecutor(THREADS) as pool:
            for _ in pool.map(self._delete, paths):
                pass

    def _delete(self, path: str) -> None:
        with in_words(self.url_of(path)), suppress(FileNotFoundError):
            self._client.delete_object(Bucket=self.bucket, Key=self._key(path))

    # Reading

    def head(self, path: str) -> Object | None:
        """What the server knows of an object; None if there is none."""
        try:
            with in_words(self.url_of(path)):
                found = self._head(path)
        except FileNotFoundError:
            return None
        return Object(
            path=path,
            size_bytes=found["ContentLength"],
            etag=_bare(found["ETag"]),
            modified=found["LastModified"].timestamp(),
            sha256=metadata(found).get("sha256", ""),
        )

    def get(self, path: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` to before `stop`, by default all, in pieces. A connection that is
        cut is opened again where it was; `HostUnfit` if the object is replaced meanwhile."""
        place = (self.bucket, self._key(path), self.url_of(path))
        return Reading(self._client, *place, start, stop, self.access.tries).pieces()

    def read(self, path: str, limit_bytes: int) -> bytes:
        """A small object; `HostUnfit` if it has more than `limit_bytes`."""
        data = b"".join(self.get(path, 0, limit_bytes + 1))
        if len(data) > limit_bytes:
            raise HostUnfit(f"{self.url_of(path)} has more than {limit_bytes:,} bytes")
        return data

    def list(self, prefix: str = "") -> Iterator[Object]:
        """The objects whose path begins with `prefix`, in order of their paths."""
        pages = self._client.get_paginator("list_objects_v2")
        cut = len(self._key(""))
        with in_words(self.url_of(prefix)):
            for page in pages.paginate(Bucket=self.bucket, Prefix=self._key(prefix)):
                for found in page.get("Contents", []):
                    yield Object(
                        path=found["Key"][cut:],
                        size_bytes=found["Size"],
                        etag=_bare(found["ETag"]),
                        modified=found["LastModified"].timestamp(),
                    )

    # The endpoint

    def check(self) -> None:
        """Ask for one name: `HostUnfit` if the bucket cannot be reached or listed."""
        with in_words(self.url):
            self._client.list_objects_v2(Bucket=self.bucket, Prefix=self._key(""), MaxKeys=1)

    def probe(self) -> Conditions:
        """Try with an object of its own which conditions of writing the endpoint keeps."""
        path = f".stagefarm-probe/{uuid.uuid4().hex}"
        try:
            first = self._tried(lambda: self.put_if_absent(path, b"first"))
            if not first:
                return Conditions(absent=False, match=False)
            again = self._tried(lambda: self.put_if_absent(path, b"again"))
            absent = again is None and self.read(path, 16) == b"first"
            wrong = hashlib.md5(b"wrong", usedforsecurity=False).hexdigest()
            other = self._tried(lambda: self.put_if_match(path, b"other", wrong))
            etag = _bare(self._head(path)["ETag"])
            right = self._tried(lambda: self.put_if_match(path, b"right", etag))
            match = other is None and bool(right) and self.read(path, 16) == b"right"
            return Conditions(absent=absent, match=match)
        finally:
            self.delete([path])

    def _tried(self, write: Callable[[], str | None]) -> str | None:
        """The answer of a conditional write; empty if the server does not know it."""
        from botocore.exceptions import ClientError

        try:
            return write()
        except HostUnfit as error:
            cause = error.__cause__
            if isinstance(cause, ClientError) and code_of(cause) in UNKNOWN:
                return ""
            raise

    # Interrupted uploads

    def uploads(self, prefix: str = "") -> Iterator[Interrupted]:
        """The uploads below `prefix` that have neither ended nor been aborted; none if the server
        cannot tell. Some of them may be under way just now."""
        cut = len(self._key(""))
        with in_words(self.url_of(prefix)):
            for key, upload_id, began in interrupted(self._client, self.bucket, self._key(prefix)):
                yield Interrupted(path=key[cut:], upload_id=upload_id, began=began)

    def touched(self, upload: Interrupted) -> float:
        """When its newest part came, or it began; in seconds since 1970."""
        pages = self._client.get_paginator("list_parts")
        key, asked = self._key(upload.path), upload.upload_id
        with in_words(self.url_of(upload.path)):
            times = [
                part["LastModified"].timestamp()
                for page in pages.paginate(Bucket=self.bucket, Key=key, UploadId=asked)
                for part in page.get("Parts", [])
            ]
        return max([upload.began, *times])

    def abort(self, uploads: Iterable[Interrupted]) -> None:
        """Remove the parts of uploads. One that is under way, of whomever, fails by it."""
        for upload in list(uploads):
            with in_words(self.url_of(upload.path)), suppress(self._client.exceptions.NoSuchUpload):
                self._client.abort_multipart_upload(
                    Bucket=self.bucket, Key=self._key(upload.path), UploadId=upload.upload_id
                )

    # How

    @property
    def _client(self) -> S3Client:
        return client(self.access)

    def _part_of(self, size_bytes: int) -> int:
        """The size of the parts of a file: there may be only so many."""
        return max(self.part_bytes, math.ceil(size_bytes / PARTS_MAX))

    def _key(self, path: str) -> str:
        return f"{self.prefix}/{path}" if self.prefix else path

    def _place(self, path: str) -> Any:
        return {"Bucket": self.bucket, "Key": self._key(path)}

    def _head(self, path: str) -> HeadObjectOutputTypeDef:
        return self._client.head_object(Bucket=self.bucket, Key=self._key(path))

    def _size(self, path: str) -> int:
        with in_words(self.url_of(path)):
            return self._head(path)["ContentLength"]


def _bare(etag: str) -> str:
    """Servers quote their ETags in some answers and not in others."""
    return etag.strip('"')


def _parts(first: bytes, stream: Stream, part_bytes: int) -> Iterator[bytes]:
    part = first
    while part:
        yield part
        part = _read(stream, part_bytes)


def _read(stream: Stream, size: int) -> bytes:
    """`size` bytes, fewer only at the end: a pipe gives what it has."""
    data = stream.read(size)
    if len(data) == size or not data:
        return data
    rest = bytearray(data)
    while len(rest) < size and (data := stream.read(size - len(rest))):
        rest += data
    return bytes(rest)
