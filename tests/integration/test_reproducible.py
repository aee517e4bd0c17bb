"""Builds of one job, in workspaces of their own, at different times, on both kinds of root
filesystem, started with whatever umask: one tarball, byte for byte."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.errors import BadInput
from tasks.model import HookType
from tasks.results import Artifact
from tasks.step.launcher import perform
from tests.integration.test_isolation import Farmer

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("can_isolate", "host_unchanged")]

COMMANDS = (
    "for n in z a m; do echo $n > /etc/$n; done; mkdir -p /opt/d; ln /etc/a /opt/d/hard",
    "ln -s /etc /opt/link; mkfifo /opt/fifo; chown 5:6 /etc/z; rm -rf /usr/share/doc",
)


def build(folder: Path, seed: Path, kind: str, epoch: str) -> tuple[Artifact, ...]:
    from dataclasses import replace

    folder.mkdir()
    farmer = Farmer(folder, seed)
    farmer.settings = replace(farmer.settings, rootfs=kind)
    made = farmer.build(HookType.INNER_CHROOT, COMMANDS, environment={"SOURCE_DATE_EPOCH": epoch})
    workspace = farmer.workspace(made)
    with workspace.lock():
        results = [perform(made, step, workspace, farmer.log) for step in range(3)]
    return results[-1].artifacts + results[-1].sidecars


def test_the_tarballs_are_the_same(tmp_path: Path, seed: Path) -> None:
    epoch = "1700000000"
    wanted = (("a", "auto", 0o022), ("longer-name", "auto", 0o077), ("c", "plain", 0o002))
    before = os.umask(0)
    try:
        made = []
        for name, kind, umask in wanted:
            os.umask(umask)
            made.append(build(tmp_path / name, seed, kind, epoch))
    finally:
        os.umask(before)
    digests = {tuple((one.name, one.sha256) for one in artifacts) for artifacts in made}
    assert len(digests) == 1


def test_an_epoch_that_is_none_is_bad_input(tmp_path: Path, seed: Path) -> None:
    with pytest.raises(BadInput, match="SOURCE_DATE_EPOCH is 'yesterday'"):
        build(tmp_path / "a", seed, "plain", "yesterday")
