"""The inventory of a tarball: what one pass over it says of its files."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from tasks.archive.tarball import pack
from tasks.errors import BadInput
from tasks.inspection.inventory import Compiled, Inventory, Kind, Mark
from tasks.inspection.scan import scan
from tasks.reporting import Silent
from tests import trees

KEY = (
    b"-----BEGIN OPENSSH PRIVATE KEY-----\n"
    b"b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZWQyNTUx\n"
    b"-----END OPENSSH PRIVATE KEY-----\n"
)


def inventory(data: bytes, piece_bytes: int = 1 << 16, paths: tuple[bytes, ...] = ()) -> Inventory:
    pieces = (data[at : at + piece_bytes] for at in range(0, len(data), piece_bytes))
    return scan(pieces, name="a.tar", report=Silent(), build_paths=paths)


def tarball(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@pytest.mark.root
@pytest.mark.parametrize("ending", ["tar", "tar.zst", "tar.xz"])
def test_every_kind_of_file_is_seen_as_it_is(tmp_path: Path, ending: str) -> None:
    root = tmp_path / "root"
    trees.one_of_everything(root)
    made = pack(root, tmp_path / f"a.{ending}", report=Silent())
    data = Path(made.path).read_bytes()
    found = inventory(data)
    assert (found.sha256, found.size_bytes) == (made.sha256, len(data))
    listed = {path.relative_to(root): path for path in root.rglob("*")}
    assert found.files.keys() == {"/", *(f"/{path}" for path in listed)}
    for relative, path in listed.items():
        entry, status = found.files[f"/{relative}"], path.lstat()
        assert (entry.mode, entry.uid, entry.gid) == (
            status.st_mode & 0o7777, status.st_uid, status.st_gid,
        )  # fmt: skip
        assert entry.mtime == pytest.approx(status.st_mtime, abs=1e-6)
        if entry.kind is Kind.FILE:
            assert entry.size == status.st_size
            assert entry.content == blake3(path.read_bytes()).hexdigest()
    assert found.files["/disk"].content == "8:0"
    assert found.files["/link"].content == "../../outside"
    assert found.files["/folder/hardlink"].content == "/file"
    assert "SCHILY.xattr.security.capability" in dict(found.files["/ping"].xattrs)


@pytest.mark.parametrize("form", ["gnu", "oldgnu", "ustar", "v7", "posix"])
def test_every_format_of_tar_is_read(tmp_path: Path, form: str) -> None:
    """Also sparse files, whose map each format stores in its own way."""
    root = tmp_path / "root"
    root.mkdir()
    name = "x" * 90
    (root / name).write_bytes(b"long")
    with (root / "sparse").open("wb") as file:
        for at in range(0, 60 << 16, 2 << 16):
            file.seek(at)
            file.write(b"%d" % at)
        file.truncate(61 << 16)
    sparse = [] if form in ("ustar", "v7") else ["--sparse"]
    for version in ("0.0", "0.1", "1.0") if form == "posix" else ("",):
        words = [f"--sparse-version={version}"] if version else []
        made = tmp_path / "a.tar"
        subprocess.run(
            ["tar", f"--format={form}", *sparse, *words, "-C", root, "-cf", made, "."], check=True
        )
        found = inventory(made.read_bytes())
        for each in (name, "sparse"):
            assert found.files[f"/{each}"].size == (root / each).stat().st_size
            content = blake3((root / each).read_bytes()).hexdigest()
            assert found.files[f"/{each}"].content == content, (form, version)


def test_programs_and_scripts_are_recognised(tmp_path: Path) -> None:
    data = tarball(
        {
            "bin/sh": Path("/bin/sh").resolve().read_bytes(),
            "bin/script": b"#! /usr/bin/env -S python3 -I \nprint()\n",
            "bin/damaged": b"\x7fELF\x02\x01" + random.Random(1).randbytes(4000),
            "bin/short": b"\x7fELF",
        }
    )
    for piece_bytes in (100, 1 << 20):
        found = inventory(data, piece_bytes)
        shell = found.programs["/bin/sh"]
        assert (shell.bits, shell.kind) == (64, "ET_DYN")
        assert "ld-linux" in shell.interpreter
        assert "libc.so.6" in shell.needed
        assert found.scripts == {"/bin/script": "/usr/bin/env -S python3 -I"}
        assert found.marks == {"/bin/damaged": (Mark.DAMAGED,), "/bin/short": (Mark.DAMAGED,)}


@pytest.mark.parametrize("piece_bytes", [512, 1000, 4096, 1 << 20])
def test_marks_are_seen_across_the_borders_of_pieces(piece_bytes: int) -> None:
    noise = random.Random(2).randbytes(3 * piece_bytes if piece_bytes < 1 << 20 else 5000)
    files = {f"{at}": noise[:at] + KEY for at in range(len(noise) - 1200, len(noise), 37)}
    files |= {f"p{at}": noise[:at] + b"/build/here/x" for at in range(900, 1100, 7)}
    files["words"] = b"a file that begins with -----BEGIN PRIVATE KEY----- is one\n"
    found = inventory(tarball(files), piece_bytes, paths=(b"/build/here/",))
    expected = {f"/{name}": (Mark.PRIVATE_KEY,) for name in files if name.isdigit()}
    expected |= {f"/{name}": (Mark.BUILD_PATH,) for name in files if name.startswith("p")}
    assert found.marks == expected


def test_texts_and_the_times_of_compiled_files_are_kept() -> None:
    compiled = struct.pack("<4sIII", b"\xa7\r\r\n", 0, 1234, 56) + b"code"
    checked = struct.pack("<4sIII", b"\xa7\r\r\n", 1, 1234, 56) + b"code"
    found = inventory(
        tarball(
            {
                "./etc/passwd": b"root:x:0:0::/root:/bin/sh\n",
                "./etc/ld.so.conf.d/a.conf": b"/opt\n",
                "./etc/ld.so.conf.d/deep/a.conf": b"/opt\n",
                "./etc/shadow": bytes(2 << 20),
                "./srv/etc/passwd": b"no",
                "a.pyc": compiled,
                "b.pyc": checked,
                "c.pyc": b"",
            }
        )
    )
    assert found.texts == {
        "/etc/passwd": b"root:x:0:0::/root:/bin/sh\n",
        "/etc/ld.so.conf.d/a.conf": b"/opt\n",
    }
    assert found.marks == {"/etc/shadow": (Mark.UNREAD,)}
    assert found.compiled == {"/a.pyc": Compiled(source_mtime=1234, source_size=56)}


def test_the_last_file_of_a_name_counts() -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for content in (b"#!/bin/first\n", b"second"):
            member = tarfile.TarInfo("a")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    found = inventory(stream.getvalue())
    assert found.files["/a"].size == 6
    assert found.scripts == {}


@pytest.mark.parametrize("end", [0, 100, 512, 600, 1024, 1700, 2048])
def test_what_is_no_whole_tarball_is_refused(end: int) -> None:
    data = tarball({"a": b"1" * 600, "b": b"2"})[:end]
    with pytest.raises(BadInput, match=r"^a\.tar: (not a tarball|it ends too early)$"):
        inventory(data)


def test_an_error_of_the_source_is_not_one_of_the_tarball() -> None:
    def broken() -> Iterator[bytes]:
        yield tarball({"a": b"1" * 5000})[:3000]
        raise RuntimeError("gone")

    with pytest.raises(RuntimeError, match="gone"):
        scan(broken(), name="a.tar", report=Silent())
