"""What reaches the disk, and in which order: seen in the calls that a process makes.

A power cut keeps what was synced, and may keep any part of what was not. So what gets its name by
a rename is synced before, or else the name may stand for half a file; and the folder is after, or
else the name may be gone.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.tracing import RENAMES, WRITES, Call, traced, unsafe

PUT = """
import sys
from pathlib import Path
from tasks.store.folder import FileStore
from tasks.results import Artifact
from tests.builds import any_build

folder, sha256 = Path(sys.argv[1]), sys.argv[2]
big = Artifact(name="a.tar", path=str(folder / "made.tar"), size_bytes=1, sha256=sha256)
extras = {"record.json": b"{}", "build.log": folder / "log", "none": folder / "never-there"}
FileStore(folder / "store").put(any_build(), 1, "host", [big], extras)
"""

CHECKPOINT = """
import sys
from pathlib import Path
from tasks.store.folder import FileStore
from tests.builds import any_build

with FileStore(Path(sys.argv[1], "store")).new_checkpoint(any_build(), 1, 2, "host") as made:
    pass
"""

REPLACE = """
import sys
from pathlib import Path
from tasks.host.files import replaced

with replaced(Path(sys.argv[1], "kept", "file")) as file:
    file.write(b"some")
    file.write(b" more")
"""

SYNC = """
import sys
from pathlib import Path
from tasks.host.files import sync_file_system

sync_file_system(Path(sys.argv[1]))
"""

JOURNAL = """
import sys
from pathlib import Path
from tasks.errors import HookFailed
from tasks.results import StepResult
from tasks.worker.journal import Journal, Order

journal = Journal(Path(sys.argv[1]))
journal.step_ended(0, StepResult(seed="x"))
journal.order(Order.CANCEL, "enough")
journal.failed(HookFailed("no"))
"""


def test_what_a_build_made_is_on_the_disk_before_it_has_its_name(tmp_path: Path) -> None:
    content = b"stage" * (1 << 20) + b"and a tail"
    (tmp_path / "made.tar").write_bytes(content)
    (tmp_path / "log").write_text("a line\n")
    calls = traced(PUT, tmp_path, str(tmp_path), hashlib.sha256(content).hexdigest())
    attempt = tmp_path / "store" / "job-1" / "job-1" / "1"
    assert sorted(path.name for path in attempt.iterdir()) == ["a.tar", "build.log", "record.json"]
    assert (attempt / "a.tar").read_bytes() == content
    assert problems_below(tmp_path / "store" / "job-1" / "job-1", calls) == []
    assert_appears_whole(attempt, calls)


def test_a_checkpoint_appears_whole(tmp_path: Path) -> None:
    calls = traced(CHECKPOINT, tmp_path, str(tmp_path))
    folder = tmp_path / "store" / "job-1" / "job-1" / "checkpoints"
    assert problems_below(folder, calls) == []
    assert_appears_whole(folder / "1.2", calls)


def test_a_replaced_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    calls = traced(REPLACE, tmp_path, str(tmp_path))
    assert (tmp_path / "kept" / "file").read_bytes() == b"some more"
    assert unsafe(calls) == []
    assert_appears_whole(tmp_path / "kept" / "file", calls)


def test_each_entry_of_the_journal_is_synced_at_once(tmp_path: Path) -> None:
    calls = traced(JOURNAL, tmp_path, str(tmp_path))
    told = [call.name for call in calls if call.name in (*WRITES, "fsync")]
    assert told == ["write", "fsync"] * 3


def test_a_file_system_is_synced_as_a_whole(tmp_path: Path) -> None:
    calls = traced(SYNC, tmp_path, str(tmp_path))
    assert [(call.name, call.paths) for call in calls if "sync" in call.name] == [
        ("syncfs", (tmp_path,))
    ]


def problems_below(folder: Path, calls: list[Call]) -> list[str]:
    """Those about `folder` and what is in it: the folders above it are as old as the store."""
    return [problem for problem in unsafe(calls) if str(folder) in problem]


def assert_appears_whole(path: Path, calls: list[Call]) -> None:
    """`path` gets its name by one rename, and nothing is written under that name."""
    (rename,) = [call for call in calls if call.name in RENAMES and call.paths[-1] == path]
    assert rename.paths[-2].parent == path.parent
    made = [call for call in calls if "O_CREAT" in call.text or call.name in (*WRITES, "mkdir")]
    assert [call.text for call in made if call.paths[-1].is_relative_to(path)] == []


# The reader of traces itself


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["create", "write", "fsync", "rename", "sync folder"], 0),
        (["create", "write", "rename", "sync folder"], 1),
        (["create", "fsync", "write", "rename", "sync folder"], 1),
        (["create", "write", "fsync", "rename"], 1),
        (["create", "write", "rename", "fsync", "sync folder"], 1),
    ],
)
def test_what_is_unsafe(names: list[str], expected: int) -> None:
    file, folder = Path("/f/.x"), Path("/f")
    known = {
        "create": Call("openat", (file,), "O_CREAT"),
        "write": Call("write", (file,), ""),
        "fsync": Call("fsync", (file,), ""),
        "rename": Call("rename", (file, Path("/f/x")), ""),
        "sync folder": Call("fsync", (folder,), ""),
    }
    assert len(unsafe([known[name] for name in names])) == expected
