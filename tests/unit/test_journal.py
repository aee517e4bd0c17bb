"""The journal of an attempt: what it holds survives a cut-off line, and nothing hides it."""

from __future__ import annotations

from pathlib import Path

from tasks.errors import HookFailed, PackFailed
from tasks.results import NO_ORIGIN, Artifact, Checkpoint, StepResult
from tasks.worker.journal import Journal, Order


def test_a_journal_that_was_never_written_knows_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.result(0) is None
    assert journal.ordered() is None


def test_what_each_step_left_is_found_by_its_number(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for step in range(3):
        journal.step_ended(step, StepResult(seed=f"s{step}"))
    assert [journal.result(step) for step in range(4)] == [
        *(StepResult(seed=f"s{step}") for step in range(3)),
        None,
    ]
    assert journal.ordered() is None
    assert Journal(tmp_path).result(1) == StepResult(seed="s1"), "it is in the file"


def test_the_first_order_counts_and_is_no_step(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.step_ended(0, StepResult(seed="s0"))
    journal.order(Order.STALE, "the attempt is over")
    journal.order(Order.CANCEL, "enough")
    assert journal.ordered() == (Order.STALE, "the attempt is over")
    assert journal.result(0) == StepResult(seed="s0")
    assert journal.result(-1) is None


def test_an_order_before_a_step_hides_it_not(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.order(Order.STALE, "the attempt is over")
    journal.failed(HookFailed("no"))
    journal.step_ended(0, StepResult(seed="s0"))
    assert journal.result(0) == StepResult(seed="s0")


def test_the_first_failure_is_why_the_build_failed(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.failure() is None
    journal.step_ended(0, StepResult())
    assert journal.failure() is None
    journal.failed(HookFailed("it broke", "mend it"))
    journal.failed(PackFailed("late"))
    error = journal.failure()
    assert isinstance(error, HookFailed)
    assert (str(error), error.hint) == ("it broke", "mend it")


def test_a_line_that_was_cut_off_hides_no_other(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.step_ended(0, StepResult(seed="s0"))
    with journal.file.open("ab") as file:
        file.write(b'{"step":1,"result":{"se')
    journal.step_ended(1, StepResult(seed="s1"))
    assert [journal.result(step) for step in range(2)] == [
        StepResult(seed="s0"),
        StepResult(seed="s1"),
    ]


def test_a_journal_that_cannot_be_written_fails_no_build(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "never-there")
    journal.step_ended(0, StepResult())
    journal.order(Order.CANCEL, "enough")
    journal.failed(HookFailed("no"))
    assert (journal.result(0), journal.ordered(), journal.failure()) == (None, None, None)


def test_a_step_that_has_begun_is_known_before_it_ends(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.order(Order.CANCEL, "enough")
    assert not journal.has_begun(0)
    journal.step_begun(0)
    assert (journal.has_begun(0), journal.has_begun(1), journal.result(0)) == (True, False, None)


def test_the_seed_is_that_of_the_first_step_that_names_one(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.step_ended(0, StepResult())
    assert journal.seed() == ("", NO_ORIGIN)
    journal.step_ended(1, StepResult(seed="sha256:first"))
    journal.step_ended(2, StepResult(seed="sha256:second"))
    assert journal.seed() == ("sha256:first", NO_ORIGIN)


def test_the_seed_of_a_checkpoint_is_the_builds(tmp_path: Path) -> None:
    journal, kept = Journal(tmp_path), Artifact(name="a", path="/a", size_bytes=1, sha256="ab")
    checkpoint = Checkpoint(
        attempt=1, step=1, lineage="l", rootfs=kept, workspace=kept, seed="sha256:first"
    )
    journal.step_ended(1, StepResult(checkpoint=checkpoint))
    assert journal.seed() == ("sha256:first", NO_ORIGIN)
