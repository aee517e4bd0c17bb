"""Limits of sizes: fixed, learned, absolute; and sizes in findings."""

from __future__ import annotations

import pytest

from orchestrator.formats.gatefile import Checks, Count, Gatefile, Size, SizeRule
from orchestrator.gate.judge import find
from orchestrator.gate.sizes import SizeRecord, limits, rounded, size_record
from tests.inventories import entry, folder, inventory

MB = 1_000_000


def record(size: int, **folders: int) -> SizeRecord:
    named = {f"/{name.replace('_', '/')}": value for name, value in folders.items()}
    return SizeRecord(tarball_bytes=100 * MB, tree_bytes=size, folders=named)


def found(size: int, sizes: list[SizeRecord], **checks: SizeRule) -> list[tuple[str, ...]]:
    stage = inventory({"/x": entry(size=size - 2)}, size_bytes=100 * MB)
    findings = find(stage, None, Gatefile(checks=Checks(**checks)), sizes=sizes)
    return [(item.check, item.before, item.after) for item in findings]


@pytest.mark.parametrize(
    ("history", "least", "most"),
    [
        ([100], 90, 110),  # too few: 10 percent
        ([100, 101, 100, 101, 100], 96, 104),  # four times the usual change of 1 percent
        ([100] * 20, 98, 102),  # at least 2 percent
        ([50, 50, 50, 50, 100, 100, 100, 100], 98, 102),  # a jump that was accepted
        ([100, 105, 110, 115, 120, 126], 102, 150),  # it grows every night
    ],
)
def test_limits_are_learned_from_what_was_published(
    history: list[int], least: int, most: int
) -> None:
    sizes = [record(number * MB) for number in history]
    assert found(least * MB + MB // 2, sizes) == []
    assert found(most * MB - MB // 2, sizes) == []
    assert [item[0] for item in found(least * MB - MB, sizes)] == ["tree_size"]
    assert [item[0] for item in found(most * MB + MB, sizes)] == ["tree_size"]


def test_only_the_last_stages_teach() -> None:
    noisy = [record((100 + 20 * (number % 2)) * MB) for number in range(21)]
    quiet = [*noisy, *(record(100 * MB) for _ in range(20))]
    stage = inventory({"/x": entry(size=110 * MB)}, size_bytes=100 * MB)
    assert find(stage, None, Gatefile(), sizes=noisy) == ()
    assert len(find(stage, None, Gatefile(), sizes=quiet)) == 1
    assert find(stage, None, Gatefile(learn_from=Count(41)), sizes=quiet) == ()


def test_limits_of_the_policy() -> None:
    sizes = [record(100 * MB)] * 20
    rule = SizeRule(grow=Count(50), shrink=Count(0))
    assert found(149 * MB, sizes, tree_size=rule) == []
    assert found(151 * MB, sizes, tree_size=rule) == [("tree_size", "100 MB", "150 MB")]
    assert found(99 * MB, sizes, tree_size=rule) == [("tree_size", "100 MB", "99 MB")]
    half = limits(SizeRule(grow=Count(50)), [100] * 20, fixed=0.1, least=0.02)
    assert (half.grow, half.shrink) == (0.5, 0.02)
    rule = SizeRule(least=Size(50 * MB), most=Size(200 * MB), grow=Count(900), shrink=Count(100))
    assert found(100 * MB, [], tree_size=rule) == []
    assert found(201 * MB, [], tree_size=rule) == [("tree_size", "0 B", "200 MB")]
    assert found(49 * MB, sizes, tree_size=rule) == [("tree_size", "100 MB", "49 MB")]


def test_the_published_stage_is_the_one_to_compare_with() -> None:
    published = inventory({"/x": entry(size=200 * MB)}, size_bytes=100 * MB)
    stage = inventory({"/x": entry(size=201 * MB)}, size_bytes=100 * MB)
    assert find(stage, published, Gatefile(), sizes=[record(100 * MB)] * 3) == ()
    assert find(stage, published, Gatefile()) == ()


def test_a_folder_is_told_once_by_the_deepest_name() -> None:
    before = record(100 * MB, usr=50 * MB, usr_lib=10 * MB, usr_bin=40 * MB, opt=9 * MB)
    files = {
        "/usr/lib/a": entry(size=30 * MB),
        "/usr/bin/b/c/d": entry(size=40 * MB),
        "/opt/x": entry(size=9 * MB),
        "/new/deep/file": entry(size=2 * MB),
        "/new": folder(),
        "/small/file": entry(size=MB),
    }
    rule = SizeRule(most=Size(0), grow=Count(900), shrink=Count(100))
    policy = Gatefile(checks=Checks(tree_size=rule))
    findings = find(inventory(files, size_bytes=100 * MB), None, policy, sizes=[before])
    assert [(item.path, item.before, item.after) for item in findings] == [
        ("/new/deep", "0 B", "2 MB"),
        ("/usr/lib", "10 MB", "30 MB"),
    ]


def test_the_record_of_a_stage() -> None:
    files = {"/a/b/c/d": entry(size=5), "/a/x": entry(size=2), "/y": entry(size=7)}
    assert size_record(inventory(files, size_bytes=3)) == SizeRecord(
        tarball_bytes=3,
        tree_bytes=16,
        folders={"/a": 7, "/a/b": 5, "/etc": 2},
    )


@pytest.mark.parametrize(
    ("before", "after", "texts"),
    [
        (128_358_400, 170_123_456, ("130 MB", "170 MB")),
        (128_358_400, 131_900_000, ("128 MB", "132 MB")),
        (100_000_000, 100_000_001, ("100 MB", "100.000001 MB")),
        (0, 999, ("0 B", "1 kB")),
        (999_999, 5_400_000_000_000, ("1 MB", "5.4 TB")),
        (12, 12, ("12 B", "12 B")),
    ],
)
def test_sizes_have_as_many_digits_as_it_takes(
    before: int, after: int, texts: tuple[str, str]
) -> None:
    assert rounded(before, after) == texts
