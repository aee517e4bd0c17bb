"""Unpacks a tarball to a root filesystem, and packs a root filesystem to a tarball.

GNU tar is the archiver; our protections build on its own (it strips prefixes of names that lead out
of the folder, and creates symbolic links that could lead out last). Data is decompressed and
compressed here, so that it can be counted, limited and hashed on the way.
"""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from tasks.archive import decompress, formats, gnutar
from tasks.archive.compress import Levels, compressed
from tasks.archive.formats import Compression, Damaged
from tasks.archive.pax_headers import edited
from tasks.archive.tarformers import Rules
from tasks.errors import BadInput, PackFailed, SourceFailed
from tasks.host.checksums import Sums
from tasks.host.files import replaced
from tasks.host.mount_table import without_mounts
from tasks.host.process import piped
from tasks.metering import Meter
from tasks.model import Tarformers
from tasks.reporting import Line, Report
from tasks.results import Artifact
from tasks.settings import DEFAULTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of unpacking a tarball; the ratio applies beyond `free_bytes` of content."""

    size_bytes: int = DEFAULTS.unpack_limit_bytes
    ratio: int = DEFAULTS.unpack_limit_ratio
    free_bytes: int = 1 << 30


def extract(
    tarball: Path,
    rootfs: Path,
    *,
    report: Report,
    limits: Limits | None = None,
    tarformers: Tarformers | None = None,
) -> None:
    """Unpack `tarball` into the folder `rootfs` (made if missing), with all metadata.

    `SourceFailed` if it is not a tarball, incomplete, too large, or does not fit on the disk. The
    folder is then incomplete, and must be removed by the caller.
    """
    meter = Meter(report, f"unpack {tarball.name}")
    try:
        with tarball.open("rb", buffering=0) as file:
            meter.total = os.fstat(file.fileno()).st_size
            unpack(
                file.read,
                tarball.name,
                rootfs,
                meter=meter,
                limits=limits or Limits(),
                tarformers=tarformers,
            )
    except Damaged as error:
        raise SourceFailed(f"{tarball}: {error}", error.hint) from error
    except OSError as error:
        raise SourceFailed(f"{tarball}: {error.strerror}", _hint(error, rootfs)) from error


def unpack(
    read: decompress.Read,
    name: str,
    rootfs: Path,
    *,
    meter: Meter,
    limits: Limits,
    tarformers: Tarformers | None = None,
) -> None:
    """`extract` for the stream from `read`, called `name`; `Damaged` if it is not complete."""
    rootfs.mkdir(parents=True, exist_ok=True)
    counted = partial(_counted_read, read, meter)
    head = counted(formats.HEAD_BYTES)
    while head and len(head) < formats.HEAD_BYTES and (more := counted(1 << 9)):
        head += more
    kind = _recognise(head, name, meter.report)
    pieces = decompress.decompress(_put_back(head, counted), kind)
    pieces = limited(pieces, meter, limits)
    if tarformers:
        pieces = edited(pieces, Rules(tarformers).on_unpacking())
    owners = not tarformers or tarformers.same_owner
    with decompress.ahead(pieces) as plain:
        gnutar.unpack(plain, rootfs, meter.report, owners=owners)
    meter.finish()


def _counted_read(read: decompress.Read, meter: Meter, size: int) -> bytes:
    data = read(size)
    meter.add(len(data))
    return data


def _put_back(head: bytes, read: decompress.Read) -> decompress.Read:
    """`read`, preceded by `head`."""
    first = [head]
    return lambda size: first.pop() if first else read(size)


def _recognise(head: bytes, name: str, report: Report) -> Compression:
    """The format of a file that begins with `head`, with a note if its name does not match."""
    found = formats.by_content(head)
    if found is None:
        raise Damaged(
            "it is not a tarball" if head else "it is empty",
            f"it begins with {head[:40]!r}: is the source right?",
        )
    if found is not _expected(name):
        report.line(Line(text=f"{name} has {found} data, which does not match its name"))
    return found


def _expected(name: str) -> Compression | None:
    try:
        return formats.by_name(name)
    except BadInput:
        return None


def limited(pieces: Iterator[bytes], meter: Meter, limits: Limits) -> Iterator[bytes]:
    """`pieces`, up to the limits; `Damaged` beyond them."""
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > limits.size_bytes:
            raise Damaged(
                f"it unpacks to more than {limits.size_bytes:,} bytes",
                "raise unpack_limit_bytes if this is expected",
            )
        if size > limits.free_bytes and size > limits.ratio * meter.done:
            raise Damaged(
                f"it unpacks to more than {limits.ratio} times its size",
                "raise unpack_limit_ratio if this is expected",
            )
        yield piece


def pack(
    rootfs: Path,
    target: Path,
    *,
    report: Report,
    source_date_epoch: int | None = None,
    levels: Levels | None = None,
) -> Artifact:
    """`pack_summed`, with an artifact as the result."""
    sums = pack_summed(
        rootfs, target, report=report, source_date_epoch=source_date_epoch, levels=levels
    )
    return Artifact(
        name=target.name, path=str(target), size_bytes=sums.size_bytes, sha256=sums.hex("sha256")
    )


def pack_summed(
    rootfs: Path,
    target: Path,
    *,
    report: Report,
    source_date_epoch: int | None = None,
    levels: Levels | None = None,
    listing: IO[bytes] | None = None,
    tarformers: Tarformers | None = None,
) -> Sums:
    """Pack the folder `rootfs` as `target`, in the format of its extension.

    Mounts below `rootfs` are not packed; sockets are skipped with a note. `target` exists only once
    it is complete and on disk. No file gets a time after `source_date_epoch` (seconds since 1970;
    reproducible-builds.org). `PackFailed` if the disk is full, or the tree changes meanwhile.
    `listing` gets the list of the packed files, as printed by `tar --list`.
    """
    kind = formats.by_name(target.name)
    meter = Meter(report, f"pack {target.name}")
    with packing(target), without_mounts(rootfs) as folder, replaced(target) as file:
        sums = Sums(file)
        rules = Rules(tarformers) if tarformers else None
        selection = _selection(rules, folder, rootfs) if rules else None
        stream = gnutar.pack(folder, report, source_date_epoch, selection)
        edits = edited(stream, rules.on_packing()) if rules else stream
        pieces = _listed(_counted(edits, meter), listing, report)
        with _sized(folder, meter), closing(pieces):
            for piece in compressed(pieces, kind, levels or Levels()):
                sums.write(piece)
    meter.finish()
    return sums


@contextmanager
def packing(target: Path) -> Iterator[None]:
    """Turns errors of the system while `target` is written, such as a full disk, into
    `PackFailed`."""
    try:
        yield
    except OSError as error:
        raise PackFailed(f"{target}: {error.strerror}", _hint(error, target.parent)) from error


def _selection(rules: Rules, folder: Path, rootfs: Path) -> gnutar.Selection:
    return gnutar.Selection(
        names=rules.chosen(folder, rootfs), also=rules.also(), all_times=rules.all_times
    )


def _counted(pieces: Iterator[bytes], meter: Meter) -> Generator[bytes]:
    for piece in pieces:
        meter.add(len(piece))
        yield piece


def _listed(pieces: Iterator[bytes], listing: IO[bytes] | None, report: Report) -> Generator[bytes]:
    """`pieces`, which are also listed in `listing`."""
    if not listing:
        yield from pieces
        return
    with gnutar.listed(listing, report) as show:
        for piece in pieces:
            show(piece)
            yield piece


@contextmanager
def _sized(folder: Path, meter: Meter) -> Iterator[None]:
    """Finds the size of the tree in parallel with the body, as the total of the progress."""
    argv = ["du", "--apparent-size", "--block-size=1", "--summarize", str(folder)]
    with piped(argv, stdout=subprocess.PIPE) as du:
        assert du.stdout
        thread = threading.Thread(target=_take_total, args=(du.stdout, meter), daemon=True)
        thread.start()
        try:
            yield
        finally:
            du.kill()
            thread.join()


def _take_total(answer: IO[bytes], meter: Meter) -> None:
    size = answer.read().partition(b"\t")[0]
    meter.total = int(size) if size.isdigit() else 0


def _hint(error: OSError, folder: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"free some space on the disk that holds {folder}"
    return ""
