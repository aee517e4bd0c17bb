"""Downloading over HTTP through what networks do: cut connections, busy servers, moved files.

An interrupted download continues where it stopped (Range) if the server says that the file is
still the same (If-Range with its ETag or Last-Modified, RFC 9110 section 13.1.5); otherwise it
starts again.
"""

from __future__ import annotations

import errno
import os
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NoReturn, Self
from urllib.parse import urlsplit, urlunsplit

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type

from tasks import __version__
from tasks.errors import SourceFailed, StagefarmError
from tasks.host.files import sync_folder, write_all
from tasks.metering import Meter
from tasks.model import decode, encode
from tasks.reporting import Line, Report
from tasks.settings import DEFAULTS
from tasks.sources.download_index import Origin

SMALL_MAX_BYTES = 1 << 20
RETRY_AFTER_MAX_S = 600.0
"""A longer `Retry-After` is cut to this."""

WORTH_A_RETRY = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How often a download that gets nowhere is tried, and the seconds between; each wait is twice
    the last one, and up to a half longer by chance so that a farm does not come back as one."""

    attempts: int = DEFAULTS.download_tries
    first_s: float = 1.0
    longest_s: float = 60.0

    def wait_s(self, failures: int) -> float:
        wait = min(self.longest_s, self.first_s * 2.0 ** (failures - 1))
        return wait * random.uniform(1.0, 1.5)  # noqa: S311 - no secret


class _Broken(Exception):
    """The transfer failed in a way that a retry may fix, but not within `retry_after_s`."""

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


def _broken(state: RetryCallState) -> _Broken:
    """Why the last try failed."""
    error = state.outcome and state.outcome.exception()
    assert isinstance(error, _Broken)
    return error


class Downloader:
    """Fetches files; one connection pool for all that belong to a source."""

    def __init__(
        self,
        report: Report,
        retries: Retries | None = None,
        sleep: Callable[[float], None] = time.sleep,
        timeout_s: float = 60.0,
    ) -> None:
        self._report = report
        self._retries = retries or Retries()
        self._sleep = sleep
        self.restarts = 0
        """How often a partly fetched file was started again."""
        self._client = httpx.Client(
            follow_redirects=True,
            timeout=timeout_s,
            headers={"User-Agent": f"stagefarm/{__version__}", "Accept-Encoding": "identity"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client.close()

    def download(self, uri: str, partial: Path, *, verified: bool = False) -> Origin:
        """Fetch `uri` into the file `partial`, continuing what is there of it. If the result
        is going to be `verified`, a server that cannot tell whether its file is still the same is
        trusted that it is."""
        try:
            return self._retrying(uri, lambda: _size(partial))(
                self._transfer, uri, partial, verified=verified
            )
        except OSError as error:
            raise _disk_error(error, partial) from error

    def _retrying(self, uri: str, fetched: Callable[[], int] = int) -> Retrying:
        """Tries again what is `_Broken`, until `attempts` tries in a row fetched nothing.
        `fetched` returns the bytes fetched so far."""
        failures, most = 0, fetched()

        def count(_: RetryCallState) -> None:
            nonlocal failures, most
            size = fetched()
            failures, most = (1 if size > most else failures + 1), size

        def wait_s(state: RetryCallState) -> float:
            return max(self._retries.wait_s(failures), _broken(state).retry_after_s)

        def say(state: RetryCallState) -> None:
            text = f"{shown(uri)}: {_broken(state)}; trying again in {state.upcoming_sleep:.0f} s"
            self._report.line(Line(text=text))

        def give_up(state: RetryCallState) -> NoReturn:
            raise SourceFailed(
                f"{shown(uri)}: {_broken(state)}, {failures} times in a row",
                "is the server up, and can this machine reach it?",
            ) from _broken(state)

        return Retrying(
            retry=retry_if_exception_type(_Broken),
            stop=lambda _: failures >= self._retries.attempts,
            after=count,
            wait=wait_s,
            before_sleep=say,
            sleep=self._sleep,
            retry_error_callback=give_up,
        )

    def _transfer(self, uri: str, partial: Path, *, verified: bool) -> Origin:
        """One try; `_Broken` if it may be worth another."""
        have = _size(partial)
        headers = _range(partial, uri, have, verified=verified)
        with self._get(uri, headers) as answer:
            if answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and headers:
                return self._too_far(uri, partial, answer, have)
            _check_status(uri, answer)
            part = _part(answer)
            if part.start not in (0, have):
                self.forget(partial)
                raise _Broken("the server sent another range than requested")
            origin = Origin(
                uri=uri,
                etag=answer.headers.get("etag", ""),
                last_modified=answer.headers.get("last-modified", ""),
            )
            if part.start and not _is_same(_recorded(partial), origin):
                self.forget(partial)
                raise _Broken("the file has changed on the server")
            _origin_of(partial).write_bytes(encode(origin))
            self._save(answer, partial, part)
            return origin

    def _too_far(self, uri: str, partial: Path, answer: httpx.Response, have: int) -> Origin:
        """The server has nothing behind what is there: all is there, or it is something else."""
        if answer.headers.get("content-range") == f"bytes */{have}":
            return decode(_origin_of(partial).read_bytes(), Origin)
        self.forget(partial)
        raise _Broken("what was fetched before is not a part of what is there now")

    @contextmanager
    def _get(self, uri: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
        try:
            with self._client.stream("GET", uri, headers=headers) as answer:
                yield answer
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.TooManyRedirects) as error:
            raise SourceFailed(f"{shown(uri)}: {error}", "check source.uri") from error
        except httpx.TransportError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise SourceFailed(f"{shown(uri)}: {error}", "check the server's name") from error
            raise _Broken(str(error) or type(error).__name__) from error

    def _save(self, answer: httpx.Response, partial: Path, part: _Part) -> None:
        _check_space(partial, part.size - part.start)
        meter = Meter(self._report, f"fetch {partial.name.strip('.').removesuffix('.partial')}")
        meter.done, meter.total = part.start, part.size
        self.restarts += not part.start and _size(partial) > 0
        with partial.open("r+b" if part.start else "wb", buffering=0) as file:
            file.seek(part.start)
            file.truncate()
            _copy(answer, file, meter)
            os.fsync(file.fileno())
        if part.size and meter.done != part.size:
            raise _Broken(f"the server sent {meter.done} bytes of {part.size}")
        meter.finish()

    def small(self, uri: str) -> bytes:
        """The content of a small file: a pointer, checksums, a signature."""
        return self._retrying(uri)(self._small, uri)

    def _small(self, uri: str) -> bytes:
        with self._get(uri, {}) as answer:
            _check_status(uri, answer)
            return _limited(uri, answer)

    @contextmanager
    def kept(self, data: bytes) -> Iterator[Path]:
        """`data` as a file, for a program that wants one."""
        with tempfile.NamedTemporaryFile(prefix="stagefarm-") as file:
            file.write(data)
            file.flush()
            yield Path(file.name)

    def forget(self, partial: Path) -> None:
        """Discard what was fetched."""
        self.restarts += 1
        for path in (partial, _origin_of(partial)):
            path.unlink(missing_ok=True)

    def complete(self, partial: Path, target: Path) -> None:
        """Give what was fetched its own name."""
        partial.rename(target)
        _origin_of(partial).unlink(missing_ok=True)
        sync_folder(target.parent)

    def is_unchanged(self, origin: Origin) -> bool:
        """Whether the server says that what it gave then is what it would give now."""
        asked = {"If-None-Match": origin.etag, "If-Modified-Since": origin.last_modified}
        headers = {name: value for name, value in asked.items() if value}
        try:
            with self._get(origin.uri, headers) as answer:
                return bool(headers) and answer.status_code == HTTPStatus.NOT_MODIFIED
        except _Broken:
            return False


def _range(partial: Path, uri: str, have: int, *, verified: bool) -> dict[str, str]:
    """The headers that ask for the rest, if what is there is sure to be a part of it."""
    origin = _recorded(partial)
    if not have or origin.uri != uri:
        return {}
    if origin.validator:
        return {"Range": f"bytes={have}-", "If-Range": origin.validator}
    return {"Range": f"bytes={have}-"} if verified else {}


def _recorded(partial: Path) -> Origin:
    """Where what is there of a file came from, as far as it is known."""
    try:
        return decode(_origin_of(partial).read_bytes(), Origin)
    except (OSError, StagefarmError):
        return Origin(uri="")


def _is_same(before: Origin, now: Origin) -> bool:
    """False if the marks say that these are not parts of one file: not every server that knows
    ranges respects If-Range, and parts must not be joined then (RFC 9110 section 15.3.7.3)."""
    pairs = ((before.etag, now.etag), (before.last_modified, now.last_modified))
    return all(old == new for old, new in pairs if old and new)


def _origin_of(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _check_status(uri: str, answer: httpx.Response) -> None:
    code = answer.status_code
    if code in WORTH_A_RETRY:
        raise _Broken(
            f"the server says {code} {answer.reason_phrase}".strip(), _retry_after(answer)
        )
    if code not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        hint = {401: "does it need a password?", 403: "does it need a password?"}
        raise SourceFailed(
            f"{shown(uri)}: the server says {code} {answer.reason_phrase}".strip(),
            hint.get(code, "check source.uri: is the file still there?"),
        )


def _retry_after(answer: httpx.Response) -> float:
    """The seconds that the server asks us to wait (RFC 9110 section 10.2.3), within reason."""
    text = answer.headers.get("retry-after", "")
    with suppress(ValueError):
        wait_s = float(text) if text.isdecimal() else _until(parsedate_to_datetime(text))
        return min(max(wait_s, 0.0), RETRY_AFTER_MAX_S)
    return 0.0


def _until(moment: datetime) -> float:
    return moment.timestamp() - time.time()


@dataclass(frozen=True, slots=True)
class _Part:
    """Where in the file an answer's content begins, -1 if that is not said, and the size of the
    whole file, 0 if unknown."""

    start: int
    size: int


def _part(answer: httpx.Response) -> _Part:
    """Which part of the file the answer has (`bytes FIRST-LAST/SIZE`). A server may give less than
    it was asked for, so the length of what it gives is not the length of what there is."""
    length = int(answer.headers.get("content-length") or 0)
    if answer.status_code != HTTPStatus.PARTIAL_CONTENT:
        return _Part(0, length)
    said = answer.headers.get("content-range", "")
    if not (found := re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", said)):
        return _Part(-1, 0)
    return _Part(int(found[1]), int(found[2]) + 1 if found[3] == "*" else int(found[3]))


def _check_space(partial: Path, length: int) -> None:
    room = os.statvfs(partial.parent)
    if length > (free := room.f_bavail * room.f_frsize):
        raise SourceFailed(
            f"no space left: the tarball has {length:,} bytes, the disk has {free:,} left",
            f"free some space on the disk that holds {partial.parent}",
        )


def _copy(answer: httpx.Response, file: BinaryIO, meter: Meter) -> None:
    for piece in answer.iter_raw():  # as it comes: nothing is lost when the connection is
        write_all(file.fileno(), piece)
        meter.add(len(piece))


def _limited(uri: str, answer: httpx.Response) -> bytes:
    data = b""
    for piece in answer.iter_raw():
        data += piece
        if len(data) > SMALL_MAX_BYTES:
            raise SourceFailed(f"{shown(uri)}: too large for a text file", "check source.uri")
    return data


def _disk_error(error: OSError, partial: Path) -> SourceFailed:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    hint = f"free some space on the disk that holds {partial.parent}" if full else ""
    return SourceFailed(f"cannot write {partial}: {error.strerror}", hint)


def shown(uri: str) -> str:
    """`uri` without the password that may be in it."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
