"""How we learn that a stage has booted, and what we make of one that never does."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.artifacts.gate_tests import Outcome
from tasks.errors import HostUnfit
from tasks.step.boot import Booting, inapplicable, init_in, wait
from tasks.step.stage import Packed, Stage

HANGS_S = 0.3


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root filesystem with systemd's init, and none of its tools."""
    (tmp_path / "sbin").mkdir()
    (tmp_path / "sbin/init").symlink_to("/lib/systemd/systemd")
    (tmp_path / "lib/systemd").mkdir(parents=True)
    (tmp_path / "lib/systemd/systemd").touch(0o755)
    return tmp_path


@pytest.fixture
def init() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def booted(root: Path, init: subprocess.Popen[bytes], *said: bytes) -> tuple[Outcome, str]:
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    descriptor = os.pidfd_open(init.pid)
    try:
        with ours, its:
            for message in said:
                its.send(message)
            stage = Stage(root, lambda: None, lambda _line, _stream: None)
            return wait(stage, Booting(stage.enter, descriptor, ours), HANGS_S)
    finally:
        os.close(descriptor)


def test_systemd_says_that_it_is_ready(root: Path, init: subprocess.Popen[bytes]) -> None:
    said = (b"STATUS=Starting", b"X_SYSTEMD_UNIT=READY=1x", b"READY=1\nSTATUS=Ready.")
    assert booted(root, init, *said) == (Outcome.PASSED, "")
    outcome, message = booted(root, init, *said[:2])
    assert (outcome, message) == (Outcome.FAILED, "it did not boot within 0.3 s")


def test_an_init_that_exits_is_not_waited_for(root: Path) -> None:
    with subprocess.Popen(["true"]) as gone:
        os.waitid(os.P_PID, gone.pid, os.WEXITED | os.WNOWAIT)
        assert booted(root, gone) == (Outcome.FAILED, "its init exited")


def test_what_cannot_be_booted_is_told(root: Path) -> None:
    assert inapplicable(Packed(root)) == ""
    (root / "sbin/init").unlink()
    assert inapplicable(Packed(root)) == "the stage has no init"
    (root / "sbin/init").touch(0o755)
    assert "neither systemd nor OpenRC" in inapplicable(Packed(root))
    with pytest.raises(HostUnfit, match="no control group of version 2"):
        init_in("")
