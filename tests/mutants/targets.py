"""What is mutated, and the tests that are to notice."""

from __future__ import annotations

from dataclasses import dataclass

PARTS = ("guards", "changes", "sets", "readers", "nights", "notices", "second_tries", "order")
LEDGER = (
    *(f"tests/integration/test_ledger_{part}.py" for part in PARTS),
    "tests/integration/test_idempotence.py",
    "tests/integration/test_ledger.py",
)


@dataclass(frozen=True, slots=True)
class Target:
    """Files, as a pattern below the project, and what to give to pytest for them."""

    files: str
    tests: tuple[str, ...]


TARGETS = (
    Target("tasks/ledger/lua/*.lua", (*LEDGER, "-k", "not one_clear_error")),
    Target("tasks/ledger/tls.py", ("tests/integration/test_tls.py", "-k", "not whole_farm")),
    Target("tasks/ledger/order.py", ("tests/unit/test_order.py",)),
    Target("tasks/ledger/[!mot]*.py", LEDGER),  # the migration has whole farms as its tests
    Target(
        "tasks/worker/journal.py", ("tests/unit/test_journal.py", "tests/unit/test_durability.py")
    ),
    Target("tasks/store/folder.py", ("tests/unit/test_store.py", "tests/unit/test_durability.py")),
    Target("tasks/host/files.py", ("tests/unit/test_files.py", "tests/unit/test_durability.py")),
    Target("tasks/host/removal.py", ("tests/integration/test_removal.py",)),
    Target("tasks/trust/*.py", ("tests/unit/test_trust.py",)),
    Target("tasks/host/locks.py", ("tests/unit/test_locks.py",)),
    Target(
        "tasks/sources/verify.py",
        ("tests/unit/test_sources.py", "tests/integration/test_signatures.py"),
    ),
)


@dataclass(frozen=True, slots=True)
class ByHand:
    """A change that no operator makes, and that went unnoticed once, or might."""

    file: str
    was: str
    now: str


BY_HAND = (
    ByHand(
        "tasks/store/folder.py",
        "partial.rename(folder)",
        "shutil.copytree(partial, folder)",
    ),
    ByHand(
        "tasks/store/folder.py",
        "            _sync(partial)\n            remove_tree(folder)",
        "            remove_tree(folder)",
    ),
    ByHand(
        "tasks/host/files.py",
        "unfinished.rename(target)",
        "target.write_bytes(unfinished.read_bytes())",
    ),
    ByHand(
        "tasks/host/files.py",
        "            os.fsync(file.fileno())\n        unfinished.rename(target)\n",
        "            unfinished.rename(target)\n            os.fsync(file.fileno())\n",
    ),
)
