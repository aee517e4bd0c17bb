"""Copies artifacts of builds from the farm's store to another folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.artifacts.provenance import verified_beside
from tasks.errors import BadInput, HostUnfit
from tasks.host.checksums import Sums
from tasks.host.files import replaced
from tasks.ledger.records import Record
from tasks.model import Build
from tasks.store.store import StoredFile
from tasks.trust.policy import Trust


@dataclass(frozen=True, slots=True)
class Copy:
    """A file of the store and the path to copy it to; `sha256` is empty where it is not known, as
    for logs."""

    source: StoredFile
    target: Path
    sha256: str = ""
    is_tarball: bool = False


def copies(
    record: Record,
    into: Path | None,
    trust: Trust,
    build_of: Callable[[str], Build],
    file_of: Callable[[str], StoredFile],
) -> Iterator[Copy]:
    """The tarballs of a build and their sidecar files, to `into`, or to where `run` would put
    them: the job's `output.dir`. `file_of` gives the file of a URL. `HostUnfit` if the store does
    not have it or is elsewhere, `Untrusted` if what lies there is not signed by a submitter and a
    host of `trust`. Where signatures are not required, the ledger's word counts, and `build_of`
    returns its build."""
    for artifact in record.artifacts:
        tarball = file_of(artifact.path)
        require_stored(tarball)
        if trust.required:
            found = verified_beside(tarball, trust, record.id)
            build, sums = found.job.build, found.result.files
        else:
            build, sums = build_of(record.id), {tarball.name: artifact.sha256}
        folder = into or _own_place(build)
        yield Copy(tarball, folder / tarball.name, sums[tarball.name], is_tarball=True)
        for sidecar in tarball.sidecars():
            yield Copy(sidecar, folder / sidecar.name, sums.get(sidecar.name, ""))


def _own_place(build: Build) -> Path:
    """Where `run` would put what the build makes; `BadInput` if that is where repositories are
    written anew each time."""
    place = Path(build.output.dir)
    if build.inputs and place.is_relative_to(build.folder):
        raise BadInput(f"{place} is written anew for each batch", "fetch it --into another folder")
    return place


def require_stored(tarball: StoredFile) -> int:
    """The size of a tarball; `HostUnfit` if it is not where the ledger says."""
    try:
        return tarball.size()
    except OSError as error:
        raise HostUnfit(
            f"{tarball.url} is not on this machine, or not in its store: {error.strerror}",
            "run this where the store is, mount it here, or set store_url",
        ) from error


def check_apart(wanted: Sequence[Copy]) -> None:
    """`BadInput` if two files would get the same path."""
    sources: dict[Path, StoredFile] = {}
    for copy in wanted:
        if (other := sources.setdefault(copy.target, copy.source)) != copy.source:
            raise BadInput(
                f"two files would be copied to {copy.target}: {other.url} and {copy.source.url}",
                "fetch the builds one by one, each --into its own folder",
            )


def bring(copy: Copy, on_bytes: Callable[[int], object]) -> None:
    """Copy one file, atomically, and call `on_bytes` with the size of each piece. `HostUnfit` if
    that fails, or the file is not what was built."""
    try:
        with replaced(copy.target) as file:
            sums = Sums(file)
            for piece in copy.source.pieces():
                sums.write(piece)
                on_bytes(len(piece))
            if copy.sha256 not in ("", sums.hex("sha256")):
                raise HostUnfit(
                    f"{copy.source.url} is not what was built: its sha256 differs",
                    "stagefarm rebuild makes it again",
                )
    except OSError as error:
        raise HostUnfit(f"cannot fetch {copy.target}: {error.strerror}") from error
