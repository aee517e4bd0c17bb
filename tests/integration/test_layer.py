"""Layers above a seed: always mounted with the options that they were made with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tasks.rootfs.layer import OPTIONS

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("can_isolate", "host_unchanged")]

USE = """
import json, subprocess, sys
from pathlib import Path
from tasks.archive.tarball import pack
from tasks.reporting import Silent
from tasks.rootfs import layer

folder, options, command = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
if len(sys.argv) > 4:
    layer.replaced = lambda file: sys.exit("killed")
layer.OPTIONS = options
layer.mount_layer(folder / "layer", lower=folder / "seed", target=folder / "rootfs")
subprocess.run(["sh", "-ec", command], cwd=folder / "rootfs", check=True)
pack(folder / "rootfs", folder / "stage.tar", report=Silent())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A seed, and a place to mount it at."""
    (tmp_path / "seed/etc/old").mkdir(parents=True)
    (tmp_path / "seed/etc/old/secret").write_text("of the seed")
    (tmp_path / "seed/file").write_text("of the seed")
    (tmp_path / "seed").chmod(0o751)
    (tmp_path / "rootfs").mkdir()
    return tmp_path


def use(
    folder: Path, options: Sequence[str], command: str, *killed: str, within: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Mount the layer in a namespace of its own on a machine that knows `options`, run `command`
    in it, and pack it. With `killed` it goes no further than the mount."""
    arguments = [str(folder), json.dumps(options), command, *killed]
    return subprocess.run(
        ["unshare", "--mount", *within, sys.executable, "-c", USE, *arguments],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )


def packed(folder: Path) -> list[str]:
    with tarfile.open(folder / "stage.tar") as tar:
        return sorted(tar.getnames())


@pytest.mark.parametrize(
    ("first", "second"), [("userxattr", OPTIONS[0]), (OPTIONS[0], "userxattr")]
)
def test_what_was_deleted_stays_deleted_whatever_the_machine_would_choose_now(
    folder: Path, first: str, second: str
) -> None:
    """The folder is made anew: what hides the seed's is an attribute that only one kind of mount
    looks for."""
    change = "rm file; rm -r etc/old; mkdir etc/old; echo new > etc/old/new; rm etc/old/new"
    assert use(folder, [first], change).returncode == 0
    again = use(folder, [second], "test ! -e file; test ! -e etc/old/secret; echo > added")
    assert again.returncode == 0, again.stderr
    assert packed(folder) == [".", "./added", "./etc", "./etc/old"]
    assert (folder / "layer/options").read_text() == first


def test_options_that_no_longer_mount_are_an_error_and_change_nothing(folder: Path) -> None:
    assert use(folder, ["userxattr"], "rm file").returncode == 0
    (folder / "layer/options").write_text("no_such_option")
    refused = use(folder, OPTIONS, "true")
    assert "HostUnfit: cannot mount an overlay at" in refused.stderr
    assert (folder / "layer/options").read_text() == "no_such_option"
    assert (folder / "layer/upper/file").is_char_device(), "what says that it was deleted"


def test_a_mount_that_is_refused_leaves_nothing_in_the_layer_of_the_next(folder: Path) -> None:
    options = ["no_such_option", "index=on,no_such_option", "userxattr"]
    assert use(folder, options, "stat -c %a . > mode; rm file").returncode == 0
    assert (folder / "layer/options").read_text() == "userxattr"
    assert (folder / "layer/upper/mode").read_text() == "751\n"


def test_a_first_mount_that_was_killed_binds_nobody(folder: Path) -> None:
    """Its options were not written, and what overlayfs wrote to the layer meanwhile goes."""
    assert "killed" in use(folder, OPTIONS[:1], "true", "killed").stderr
    assert (folder / "layer/work/index").is_dir()
    done = use(folder, ["userxattr"], "rm file")
    assert done.returncode == 0, done.stderr
    assert not (folder / "layer/work/index").exists()
    assert packed(folder) == [".", "./etc", "./etc/old", "./etc/old/secret"]


def test_a_user_namespace_takes_the_options_that_it_may(folder: Path) -> None:
    namespace = ("--user", "--map-root-user")
    if subprocess.run(["unshare", *namespace, "true"], check=False).returncode:
        pytest.skip("needs user namespaces")
    done = use(folder, OPTIONS, "rm -r etc; mkdir etc", within=namespace)
    assert done.returncode == 0, done.stderr
    assert (folder / "layer/options").read_text() == "userxattr"
    assert packed(folder) == [".", "./etc", "./file"]
