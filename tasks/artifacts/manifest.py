"""The sidecar files of a tarball.

NAME.sha256          its checksum, for `sha256sum --check`
NAME.DIGESTS         checksums of several kinds, in Gentoo's layout
NAME.CONTENTS.gz     its content, as listed by `tar --list --verbose`, with times in UTC
NAME.packages.json   the packages installed in it
NAME.cdx.json        a bill of materials: the packages, in CycloneDX
NAME.spdx.json       the same in SPDX
NAME.tests.json      what its build host tested in it (written by a later step)
NAME.build.json      how it was made (written by the caller)
NAME.log.zst         the log of the build (written by the caller)
"""

from __future__ import annotations

import gzip
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
import zstandard

from tasks.archive.compress import Levels
from tasks.archive.tarball import pack_summed, packing
from tasks.artifacts import gate_tests, operating_system
from tasks.artifacts.bill import Bill
from tasks.artifacts.gate_tests import GateTest
from tasks.artifacts.packages import installed
from tasks.host.checksums import Sums
from tasks.host.files import replaced
from tasks.model import Tarformers
from tasks.reporting import Line, Report
from tasks.results import Artifact


def pack(
    rootfs: Path,
    target: Path,
    *,
    report: Report,
    source_date_epoch: int | None = None,
    levels: Levels | None = None,
    tarformers: Tarformers | None = None,
) -> tuple[Artifact, tuple[Artifact, ...]]:
    """Pack `rootfs` as `target`, with the sidecar files that can be made on the way."""
    with packing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent) as listing:
            sums = pack_summed(
                rootfs,
                target,
                report=report,
                source_date_epoch=source_date_epoch,
                levels=levels,
                listing=listing,
                tarformers=tarformers,
            )
            contents, listed = _zipped(listing, _sidecar(target, "CONTENTS.gz"))
        made = [
            contents,
            _write(_sidecar(target, "sha256"), _line(sums, "sha256", target.name)),
            _write(
                _sidecar(target, "DIGESTS"), _digests({target.name: sums, contents.name: listed})
            ),
            *_bills(rootfs, target, sums, report=report, source_date_epoch=source_date_epoch),
        ]
        return _artifact(target, sums), tuple(made)


def write_build(target: Path, about: dict[str, Any]) -> Artifact:
    """Write how the tarball `target` was made: rendered job, seed, hosts, times, versions."""
    return _write(_sidecar(target, "build.json"), _json(about))


def write_tests(target: Path, tests: Sequence[GateTest]) -> Artifact:
    """Write the results of the tests of the tarball `target`."""
    return _write(_sidecar(target, gate_tests.ENDING), gate_tests.content(tests))


def compressed_log(log: Path) -> bytes:
    """The log, of which a full disk may have left nothing."""
    content = log.read_bytes() if log.exists() else b""
    return zstandard.ZstdCompressor(level=9).compress(content)


def _sidecar(target: Path, ending: str) -> Path:
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


def _zipped(listing: BinaryIO, target: Path) -> tuple[Artifact, Sums]:
    listing.seek(0)
    with replaced(target) as raw:
        sums = Sums(raw)
        with gzip.GzipFile("", "wb", fileobj=cast("BinaryIO", sums), mtime=0) as zipped:
            shutil.copyfileobj(listing, zipped)
    return _artifact(target, sums), sums


def _line(sums: Sums, algorithm: str, name: str) -> bytes:
    return f"{sums.hex(algorithm)}  {name}\n".encode()


def _digests(files: dict[str, Sums]) -> bytes:
    return b"".join(
        f"# {algorithm.upper()} HASH\n".encode() + _line(sums, algorithm, name)
        for name, sums in files.items()
        for algorithm in ("blake2b", "sha512")
    )


def _bills(
    rootfs: Path, target: Path, sums: Sums, *, report: Report, source_date_epoch: int | None
) -> Iterator[Artifact]:
    """The packages of the tarball, as a plain list and as bills of materials."""

    def note(text: str) -> None:
        report.line(Line(text=f"cannot list all installed packages: {text}"))

    packages = installed(rootfs, note)
    yield _write(_sidecar(target, "packages.json"), _json({"packages": packages}))
    from tasks.artifacts import cyclonedx_bill, spdx_bill  # a library that takes a moment to load

    made = Bill(
        name=target.name,
        sha256=sums.hex("sha256"),
        sha512=sums.hex("sha512"),
        time=int(rootfs.stat().st_mtime) if source_date_epoch is None else source_date_epoch,
        system=operating_system.read(rootfs),
        packages=tuple(packages),
    )
    yield _write(_sidecar(target, "cdx.json"), cyclonedx_bill.encode(made))
    yield _write(_sidecar(target, "spdx.json"), spdx_bill.encode(made))


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"
