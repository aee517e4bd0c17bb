"""The files beside a tarball that tell what it is.

NAME.sha256          its checksum, for `sha256sum --check`
NAME.DIGESTS         checksums of several kinds, in Gentoo's layout
NAME.CONTENTS.gz     what is in it, as `tar --list --verbose` shows it, times in UTC
NAME.packages.json   the packages installed in it
NAME.build.json      how it was made (written by whoever knows)
NAME.log.zst         the log of the build (likewise)
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
import zstandard

from tasks import archive
from tasks.compressor import Levels
from tasks.errors import BuildFailed
from tasks.files import Sums, replaced
from tasks.model import Artifact, Line, Tarformers
from tasks.packages import installed
from tasks.report import Report


def pack(
    rootfs: Path,
    target: Path,
    *,
    report: Report,
    source_date_epoch: int | None = None,
    levels: Levels | None = None,
    tarformers: Tarformers | None = None,
) -> tuple[Artifact, tuple[Artifact, ...]]:
    """`tasks.archive.pack`, and the files beside the tarball that can be made on the way."""
    contents = _beside(target, "CONTENTS.gz")
    with replaced(contents) as raw:
        listed = Sums(raw)
        with gzip.GzipFile("", "wb", fileobj=cast("BinaryIO", listed), mtime=0) as listing:
            sums = archive.pack_summed(
                rootfs,
                target,
                report=report,
                source_date_epoch=source_date_epoch,
                levels=levels,
                listing=Clamped(listing.write, source_date_epoch).write,
                tarformers=tarformers,
            )
    made = [
        _artifact(contents, listed),
        _write(_beside(target, "sha256"), _line(sums, "sha256", target)),
        _write(_beside(target, "DIGESTS"), _digests({target: sums, contents: listed})),
        _write(_beside(target, "packages.json"), _packages(rootfs, report)),
    ]
    return _artifact(target, sums), tuple(made)


_LINE = re.compile(
    rb"^(\S+) +(\S+) +(\S+) +(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\S*) +(?=\S)", re.MULTILINE
)


class Clamped:
    """The lines of a listing, with no time after `epoch`: tar lists files by their own time, also
    where it writes an earlier one into the archive, and makes its columns as wide as that needs."""

    def __init__(self, write: Callable[[bytes], object], epoch: int | None) -> None:
        self._write = write
        self._rest = b""
        latest = datetime.fromtimestamp(epoch, UTC) if epoch is not None else None
        self._latest = latest.strftime("%Y-%m-%d %H:%M:%S").encode() if latest else b"9999"

    def write(self, data: bytes) -> None:
        """Take a piece of the listing; lines are passed on once they are whole."""
        lines, end, self._rest = (self._rest + data).rpartition(b"\n")
        self._write(_LINE.sub(self._line, lines) + end)

    def _line(self, found: re.Match[bytes]) -> bytes:
        mode, owner, size, time = found.groups()
        return b"%-11b %-9b %11b %b " % (mode, owner, size, min(time, self._latest))


def write_build(target: Path, about: dict[str, Any]) -> Artifact:
    """Write how the tarball `target` was made: the rendered job, seed, hosts, times, versions."""
    return _write(_beside(target, "build.json"), _json(about))


def write_log(target: Path, log: Path) -> Artifact:
    """Write the log of the build that made the tarball `target`."""
    return _write(_beside(target, "log.zst"), compressed_log(log))


def compressed_log(log: Path) -> bytes:
    return zstandard.ZstdCompressor(level=9).compress(log.read_bytes())


def _beside(target: Path, ending: str) -> Path:
    return target.with_name(f"{target.name}.{ending}")


def _write(path: Path, content: bytes) -> Artifact:
    with replaced(path) as file:
        sums = Sums(file)
        sums.write(content)
    return _artifact(path, sums)


def _artifact(path: Path, sums: Sums) -> Artifact:
    return Artifact(
        name=path.name, path=str(path), size_bytes=sums.size_bytes, sha256=sums.hex("sha256")
    )


def _line(sums: Sums, algorithm: str, path: Path) -> bytes:
    return f"{sums.hex(algorithm)}  {path.name}\n".encode()


def _digests(files: dict[Path, Sums]) -> bytes:
    return b"".join(
        f"# {algorithm.upper()} HASH\n".encode() + _line(sums, algorithm, path)
        for path, sums in files.items()
        for algorithm in ("blake2b", "sha512")
    )


def _packages(rootfs: Path, report: Report) -> bytes:
    try:
        found = installed(rootfs)
    except (OSError, BuildFailed) as error:
        report.line(Line(text=f"cannot tell the installed packages: {error}"))
        found = []
    return _json({"packages": found})


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"
