"""The `http` source: a tarball fetched once for this machine, and verified before it is used.

A file under the target's own name is always whole and verified: it is kept under another name
until then. Two builds that want one target take turns, and the second finds it there.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urljoin, urlsplit

from tasks.errors import SourceFailed, StagefarmError
from tasks.host.files import partial_of
from tasks.host.locks import exclusive
from tasks.host.removal import remove_tree
from tasks.model import Source, decode, encode
from tasks.sources import verify
from tasks.sources.destination import Destination
from tasks.sources.download import Downloader, Retries, shown
from tasks.sources.download_index import Known, Origin
from tasks.sources.streaming import Scratch, Unpacking

NAME_MAX_BYTES = 200
"""Of a name in the cache of downloads, so that it is no longer than the kernel takes with all
that is put before and behind it."""


def fetch(source: Source, destination: Destination, scratch: Scratch | None = None) -> Path:
    """The tarball of `source.uri`, at `source.target` or in the cache of downloads. If it has to be
    fetched, it is also unpacked into `scratch` meanwhile."""
    with _downloader(destination) as downloader:
        return _Fetch(source, destination, downloader, scratch).run()


def _downloader(destination: Destination) -> Downloader:
    return Downloader(destination.report, Retries(attempts=destination.storage.download_tries))


@contextmanager
def one_at_a_time(source: Source, destination: Destination) -> Iterator[float]:
    """Make other builds of this machine that want the same tarball in the cache of downloads
    wait; yields the time when this one asked for it."""
    since = time.time()
    with (
        _kept(),
        exclusive(
            _cache(source, destination), on_wait=partial(_say_who_waits, source, destination)
        ),
    ):
        yield since


def _say_who_waits(source: Source, destination: Destination) -> None:
    destination.note(f"waiting for {shown(source.uri)}: another build is fetching it")


def unchanged(source: Source, destination: Destination, since: float) -> str:
    """The digest of what the source gave when it was last remembered, if that was after `since`, or
    if the server says that it has not changed; else empty."""
    with _downloader(destination) as downloader:
        uri = _Fetch(source, destination, downloader).address()
        known = destination.digests.recall(*_question(source, destination, uri))
        if known and (known.at >= since or downloader.is_unchanged(known.origin)):
            destination.learned.is_known_by(*known.verified)
            return known.digest
        return ""


def remember(source: Source, tarball: Path, digest: str, destination: Destination) -> None:
    """Record the digest of what the source returned, and remove `tarball` from the cache of
    downloads. Call it in `one_at_a_time`."""
    origin = origin_of(tarball)
    with suppress(OSError, StagefarmError):
        came_from = decode(origin.read_bytes(), Origin)
        verified = tuple(destination.learned.verified)
        known = Known(digest=digest, origin=came_from, at=time.time(), verified=verified)
        destination.digests.remember(known, *_question(source, destination, came_from.uri))
    remove_tree(tarball.parent)


def _question(source: Source, destination: Destination, uri: str) -> tuple[str, ...]:
    """What a remembered digest is the answer to: the address, and how it was verified. Keyrings of
    one name in two builds' folders need not hold the same keys."""
    keyring = _keyring(source, destination)
    keys = verify.digest(keyring) if keyring and keyring.is_file() else source.keyring
    return uri, source.sha512, source.checksums, keys, source.signature


def _keyring(source: Source, destination: Destination) -> Path | None:
    return destination.folder / source.keyring if source.keyring else None


def _cache(source: Source, destination: Destination) -> Path:
    """The folder in which tarballs of `source` are kept when it names no target."""
    question = repr(_question(source, destination, source.uri))
    return destination.storage.downloads / hashlib.sha256(question.encode()).hexdigest()[:16]


@contextmanager
def _kept() -> Iterator[None]:
    """Turns errors of the file system into `SourceFailed`."""
    try:
        yield
    except OSError as error:
        raise SourceFailed(f"{error.filename or 'the tarball'}: {error.strerror}") from error


class _Fetch:
    """One source being fetched: what was learned on the way is shared by its steps."""

    def __init__(
        self,
        source: Source,
        destination: Destination,
        downloader: Downloader,
        scratch: Scratch | None = None,
    ) -> None:
        self._source = source
        self._place = destination
        self._keyring = _keyring(source, destination)
        self._say = destination.note
        self._downloader = downloader
        self._scratch = scratch

    def run(self) -> Path:
        uri = self.address()
        target = Path(self._source.target or self._cached(uri))
        with (
            _kept(),
            exclusive(
                target, on_wait=lambda: self._say(f"waiting for {target}: it is being fetched")
            ),
        ):
            if target.is_file() and self._is_wanted(target, uri):
                self._say(f"{target} is there already")
            else:
                self._download(uri, target)
        return target

    def address(self) -> str:
        """Where the tarball itself is: what a pointer points at."""
        check_address(uri := self._source.uri)
        if is_pointer(uri):
            check_address(uri := self._pointed_at())
        self._place.learned.came_from(shown(uri))
        return uri

    def _cached(self, uri: str) -> Path:
        name = name_of(uri).encode()[-NAME_MAX_BYTES:].decode(errors="ignore")
        return _cache(self._source, self._place) / name

    def _pointed_at(self) -> str:
        """The address of the tarball that a pointer file names, relative to its own."""
        uri = self._source.uri
        name = named_by_pointer(uri, self._text(uri, what="pointer"))
        self._say(f"{shown(uri)} points at {name}")
        return joined(uri, name)

    def _text(self, uri: str, *, what: str, must_be_signed: bool = False) -> str:
        """The text at `uri`; where there is a keyring, only what is signed in it. `what` it is for
        those who ask how the tarball was verified."""
        data = self._downloader.small(uri)
        if b"-----BEGIN PGP SIGNED MESSAGE-----" not in data:
            if must_be_signed:
                raise SourceFailed(f"{shown(uri)}: not signed", "name a signature, or no keyring")
            return data.decode(errors="replace")
        with self._downloader.kept(data) as file:
            if self._keyring:
                text, by = verify.signed_text(self._keyring, file, name=shown(uri))
                self._place.learned.is_known_by(f"{what} openpgp {by}".strip())
                return text
            return data.decode(errors="replace").partition("-----BEGIN PGP SIGNATURE-----")[0]

    def _is_wanted(self, target: Path, uri: str) -> bool:
        """False if the file that is there has other checksums than the source says, or, in the
        cache, if the server has another by now."""
        if not self._source.target and not self._is_fresh(target, uri):
            return False
        wanted = verify.expected(self._source)
        try:
            verify.sums(target, wanted, name=str(target))
        except SourceFailed as error:
            self._say(f"fetching {shown(uri)} again: {error}")
            return False
        self._place.learned.is_known_by(*wanted)
        return True

    def _is_fresh(self, target: Path, uri: str) -> bool:
        with suppress(OSError, StagefarmError):
            origin = decode(origin_of(target).read_bytes(), Origin)
            return origin.uri == uri and self._downloader.is_unchanged(origin)
        return False

    def _download(self, uri: str, target: Path) -> None:
        partial = partial_of(target)
        expected = bool(verify.expected(self._source))
        with self._unpacking(uri, partial):
            origin = self._downloader.download(uri, partial, verified=expected)
        try:
            self._verify(uri, partial)
        except SourceFailed:
            self._downloader.forget(partial)
            raise
        if not self._source.target:
            origin_of(target).write_bytes(encode(origin))
        self._downloader.complete(partial, target)
        self._remove_older(target)

    def _remove_older(self, target: Path) -> None:
        """Of what a pointer named from one time to the next, the cache keeps the last."""
        if not self._source.target:
            for path in target.parent.iterdir():
                if target.name not in path.name:
                    path.unlink(missing_ok=True)

    def _unpacking(self, uri: str, partial: Path) -> AbstractContextManager[object]:
        if not self._scratch:
            return nullcontext()
        downloader = self._downloader
        return Unpacking(partial, name_of(uri), self._scratch, lambda: downloader.restarts)

    def _verify(self, uri: str, file: Path) -> None:
        wanted, learned = verify.expected(self._source), self._place.learned
        learned.is_known_by(*wanted)
        if self._source.checksums:
            wanted |= self._published(uri)
        verify.sums(file, wanted, name=shown(uri))
        if self._keyring and (self._source.signature or not self._source.checksums):
            own = f"{PurePosixPath(urlsplit(uri).path).name}.asc"
            address = joined(uri, self._source.signature or own)
            with self._downloader.kept(self._downloader.small(address)) as detached:
                by = verify.signature(self._keyring, file, detached, name=shown(uri))
            learned.is_known_by(f"openpgp {by}")

    def _published(self, uri: str) -> dict[str, str]:
        """The checksums in the checksum file that the source names."""
        address = joined(uri, self._source.checksums)
        signed = bool(self._keyring) and not self._source.signature
        text = self._text(address, what="", must_be_signed=signed)
        found = verify.parse_checksums(text, name_of(uri))
        if not found:
            raise SourceFailed(f"{shown(address)}: it has no sha256 or sha512 of {name_of(uri)}")
        self._place.learned.is_known_by(f"checksums {shown(address)}")
        return found


def check_address(uri: str) -> None:
    try:
        scheme = urlsplit(uri).scheme
    except ValueError as error:
        raise SourceFailed(f"{uri}: {error}", "check source.uri") from error
    if scheme not in ("http", "https"):
        raise SourceFailed(f"{uri}: an http source takes http:// and https://", "check source.uri")
    if not name_of(uri).isprintable():
        raise SourceFailed(f"{uri}: the name of its file cannot be printed", "check source.uri")


def joined(uri: str, relative: str) -> str:
    try:
        return urljoin(uri, relative)
    except ValueError as error:
        raise SourceFailed(f"{shown(uri)}: {relative}: {error}") from error


def is_pointer(uri: str) -> bool:
    return urlsplit(uri).path.endswith(".txt")


def named_by_pointer(uri: str, text: str) -> str:
    """The tarball that `text`, the pointer at `uri`, names."""
    names = [
        line.split()[0]
        for line in text.splitlines()
        if line.strip() and not line.lstrip().startswith("#") and ".tar" in line.split()[0]
    ]
    if not names:
        raise SourceFailed(
            f"{shown(uri)}: this text file names no tarball",
            "a uri that ends with .txt is a pointer; its lines are `name.tar.xz size`",
        )
    if not names[0].isprintable():
        raise SourceFailed(f"{shown(uri)}: it names {names[0]!r}, which is no address")
    return names[0]


def name_of(uri: str) -> str:
    """The file's name in an address, which may hide a slash as `%2F`: never more than a name."""
    return PurePosixPath(unquote(urlsplit(uri).path)).name or "seed.tar"


def origin_of(tarball: Path) -> Path:
    """The file that records the origin of a tarball in the cache of downloads."""
    return tarball.with_name(f".{tarball.name}.origin")
