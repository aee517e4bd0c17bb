"""Reads an object in pieces; a cut connection is opened again where it was."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.errors import HostUnfit
from tasks.store.s3_errors import UNMET, code_of, in_words

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from types_boto3_s3 import S3Client

PIECE_BYTES = 1 << 20
PAUSE_MAX_S = 20.0
NOTHING_THERE = ("InvalidRange", "416")
"""The answer to a range that begins at the end of the object, or behind it."""


class _Cut(Exception):
    """The answer ended early; its arguments are those of `HostUnfit`."""


@dataclass(slots=True)
class _Answer:
    """An open answer: what is read next is at `position`, the last byte before `end`."""

    body: StreamingBody
    etag: str
    position: int
    end: int


@dataclass(frozen=True, slots=True)
class Reading:
    """The bytes of an object from `start` to before `stop`; to its end if that is None. `tries`:
    after how many connections in a row that brought nothing to give up."""

    client: S3Client
    bucket: str
    key: str
    url: str
    start: int
    stop: int | None
    tries: int

    def pieces(self) -> Iterator[bytes]:
        """The bytes, as they come."""
        answer, failures = self._open(self.start), 0
        while answer and answer.position < answer.end:
            with closing(answer.body):
                try:
                    for piece in self._read(answer):
                        failures = 0
                        yield piece
                    return
                except _Cut as error:
                    failures += 1
                    if failures == self.tries:
                        raise HostUnfit(*error.args) from error
            time.sleep(random.uniform(0.0, min(PAUSE_MAX_S, 2.0 ** (failures - 1))))  # noqa: S311
            answer = self._open(answer.position, answer.etag)

    def _read(self, answer: _Answer) -> Iterator[bytes]:
        """What an answer brings; `_Cut` if that is not all."""
        while answer.position < answer.end:
            try:
                with in_words(self.url):
                    piece = answer.body.read(min(PIECE_BYTES, answer.end - answer.position))
            except HostUnfit as error:
                raise _Cut(*error.args) from error
            if not piece:
                raise _Cut(f"{self.url}: the answer ended at {answer.position:,} bytes")
            answer.position += len(piece)
            yield piece

    def _open(self, position: int, etag: str = "") -> _Answer | None:
        """Ask for what is left of the same version; None if there is nothing."""
        from botocore.exceptions import ClientError

        asked: dict[str, Any] = {"IfMatch": etag} if etag else {}
        if position or self.stop is not None:
            asked["Range"] = f"bytes={position}-{'' if self.stop is None else self.stop - 1}"
        with in_words(self.url):
            try:
                answer = self.client.get_object(Bucket=self.bucket, Key=self.key, **asked)
            except ClientError as error:
                if code_of(error) in NOTHING_THERE:
                    return None
                if code_of(error) in UNMET:
                    raise _replaced(self.url) from error
                raise
        if etag not in ("", answer["ETag"]):  # not every server heeds the condition
            answer["Body"].close()
            raise _replaced(self.url)
        end = answer["ContentLength"]
        if "Range" in asked:
            end = self._end_of(answer.get("ContentRange", ""), position)
        return _Answer(answer["Body"], answer["ETag"], position, end)

    def _end_of(self, said: str, position: int) -> int:
        """Where the range ends that the server gives."""
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", said)
        if not found or int(found[1]) != position:
            raise HostUnfit(f"{self.url}: the server gives another range than it was asked for")
        return int(found[2]) + 1


def _replaced(url: str) -> HostUnfit:
    return HostUnfit(f"{url} was replaced while it was read")
