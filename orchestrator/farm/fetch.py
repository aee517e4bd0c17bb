"""Copies artifacts of builds from the farm's store to another folder."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.artifacts.provenance import verified_beside
from tasks.artifacts.store import file_of
from tasks.errors import BadInput, HostUnfit
from tasks.host.checksums import Sums
from tasks.host.files import replaced
from tasks.ledger.records import Record
from tasks.model import Build
from tasks.trust.policy import Trust

PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Copy:
    """A file of the store and the path to copy it to; `sha256` is empty where it is not known, as
    for logs."""

    source: Path
    target: Path
    sha256: str = ""
    is_tarball: bool = False


def copies(
    record: Record, into: Path | None, trust: Trust, build_of: Callable[[str], Build]
) -> Iterator[Copy]:
    """The tarballs of a build and their sidecar files, to `into`, or to where `run` would put
    them: the job's `output.dir`. `HostUnfit` if the store is not on this machine, `Untrusted` if
    what lies there is not signed by a submitter and a host of `trust`. Where signatures are not
    required, the ledger's word counts, and `build_of` returns its build."""
    for artifact in record.artifacts:
        tarball = file_of(artifact.path)
        if not tarball.is_file():
            hint = "run this where the store is, or mount it here"
            raise HostUnfit(f"{artifact.path} is not on this machine", hint)
        if trust.required:
            found = verified_beside(tarball, trust, record.id)
            build, sums = found.job.build, found.result.files
        else:
            build, sums = build_of(record.id), {tarball.name: artifact.sha256}
        folder = into or Path(build.output.dir)
        yield Copy(tarball, folder / tarball.name, sums[tarball.name], is_tarball=True)
        for sidecar in sorted(tarball.parent.glob(f"{glob.escape(tarball.name)}.*")):
            yield Copy(sidecar, folder / sidecar.name, sums.get(sidecar.name, ""))


def check_apart(wanted: Sequence[Copy]) -> None:
    """`BadInput` if two files would get the same path."""
    sources: dict[Path, Path] = {}
    for copy in wanted:
        if (other := sources.setdefault(copy.target, copy.source)) != copy.source:
            raise BadInput(
                f"two files would be copied to {copy.target}: {other} and {copy.source}",
                "fetch the builds one by one, each --into its own folder",
            )


def bring(copy: Copy, on_bytes: Callable[[int], object]) -> None:
    """Copy one file, atomically, and call `on_bytes` with the size of each piece. `HostUnfit` if
    that fails, or the file is not what was built."""
    try:
        with copy.source.open("rb") as source, replaced(copy.target) as file:
            sums = Sums(file)
            while piece := source.read(PIECE_BYTES):
                sums.write(piece)
                on_bytes(len(piece))
            if copy.sha256 not in ("", sums.hex("sha256")):
                raise HostUnfit(
                    f"{copy.source} is not what was built: its sha256 differs",
                    "stagefarm rebuild makes it again",
                )
    except OSError as error:
        raise HostUnfit(f"cannot fetch {copy.target}: {error.strerror}") from error
