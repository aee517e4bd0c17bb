"""Checkpoints: the state of a build after a step, from which it can continue on any host.

A folder with two tarballs. `rootfs.tar.zst` is the root filesystem, which is restored
as an ordinary seed; `workspace.tar.zst` is the rest of the workspace, without the host's shared
folders. Runs in the namespaces of a step.
"""

from __future__ import annotations

from pathlib import Path

from tasks.archive import gnutar
from tasks.archive.compress import Levels, compressed
from tasks.archive.formats import Compression
from tasks.archive.tarball import extract, pack, packing
from tasks.host.checksums import Sums
from tasks.host.files import replaced
from tasks.host.mount_table import without_mounts
from tasks.model import Source, SourceType
from tasks.reporting import Report
from tasks.results import Artifact
from tasks.rootfs.workspace import Workspace
from tasks.sources.destination import Destination
from tasks.sources.dispatch import fetch
from tasks.step.protocol import Restore

FAST = Levels(zstd=1)
"""A checkpoint is written often and rarely read."""


def keep(workspace: Workspace, folder: Path, report: Report) -> tuple[Artifact, Artifact]:
    """Pack the root filesystem and the rest of the workspace into `folder`; `PackFailed` if that
    cannot be."""
    rootfs = pack(workspace.rootfs, folder / "rootfs.tar.zst", report=report, levels=FAST)
    return rootfs, _pack_rest(workspace, folder / "workspace.tar.zst", report)


def _pack_rest(workspace: Workspace, target: Path, report: Report) -> Artifact:
    with (
        packing(target),
        without_mounts(Path(workspace.folder)) as folder,
        replaced(target) as file,
    ):
        sums = Sums(file)
        pieces = gnutar.pack(folder, report, None, without=workspace.rootfs.name)
        for piece in compressed(pieces, Compression.ZSTD, FAST):
            sums.write(piece)
    return Artifact(
        name=target.name, path=str(target), size_bytes=sums.size_bytes, sha256=sums.hex("sha256")
    )


def restore_workspace(restore: Restore, workspace: Workspace, report: Report) -> None:
    """Unpack the rest of the workspace, next to the root filesystem. Call it before the host's
    shared folders are mounted into it."""
    place = Destination(folder=Path("/"), storage=workspace.storage, report=report)
    tarball = fetch(_source(restore.checkpoint.workspace, restore), place)
    limits = workspace.storage.limits
    extract(tarball, Path(workspace.folder), report=report, limits=limits)


def rootfs_source(restore: Restore) -> Source:
    """The root filesystem of a checkpoint, as a source to begin from."""
    return _source(restore.checkpoint.rootfs, restore)


def _source(artifact: Artifact, restore: Restore) -> Source:
    path = f"{restore.folder}/{artifact.name}"
    return Source(type=SourceType.FILE, path=path, sha256=artifact.sha256)
