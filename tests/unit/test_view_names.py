"""Names in views: hostile ones stay inside, and none hides another."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.formats.releasefile import ViewKind
from orchestrator.release.catalog import Stage
from orchestrator.release.facts import Facts
from orchestrator.release.views.architectures import platform_of
from orchestrator.release.views.chosen import views_of
from orchestrator.release.views.names import checked, part, stem, version
from orchestrator.release.views.view import ViewFile
from tasks.errors import BadInput
from tests.mirrors import BUILT_AT, Stamp, a_file, a_stage, catalog_of

HOSTILE = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["..", "../..", "/etc", "a/../../b", ".ssh", "-rf", "a\nb", "\0", "x" * 300]),
    st.sampled_from(["stage3", "systemd", "amd64", "x86-64bit", "arm", "generic_64", "é", "a b"]),
)


@given(HOSTILE)
def test_a_part_of_a_name_is_plain_or_refused(text: str) -> None:
    try:
        safe = part(text)
    except BadInput:
        assert not re.search(r"[A-Za-z0-9]", text) or len(text) > 60
    else:
        assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._+-]{0,58}[A-Za-z0-9])?", safe)


class Known(Facts):
    """Facts of bodies that are not there."""

    def __init__(self) -> None:
        super().__init__(Path("/nonexistent"))

    def learn(self, file, facts, read):  # type: ignore[no-untyped-def]
        return tuple(b"0" * 64 for _ in facts)

    def of(self, file, fact, read):  # type: ignore[no-untyped-def]
        return self.learn(file, [fact], read)[0]


@given(
    kind=st.sampled_from(ViewKind),
    product=HOSTILE,
    variant=HOSTILE,
    arch=HOSTILE,
    subarch=HOSTILE,
    build=HOSTILE,
    file=HOSTILE,
    ending=st.sampled_from([".tar.xz", ".tar.zst", ".tar.gz", ".zip", ""]),
    built_at=st.one_of(st.floats(), st.just(BUILT_AT)),
)
def test_no_view_leads_out_of_its_folder(
    kind: ViewKind, ending: str, file: str, **hostile: object
) -> None:
    stage = a_stage(tarball=a_file(name=file + ending), **hostile)
    (view,) = views_of([kind], Known())
    catalog = catalog_of(stage)
    roots = {
        "gentoo": ["releases"],
        "sha256sums": ["files"],
        "simplestreams": ["streams", "images"],
        "oci": ["oci"],
    }
    shown = [found.path for found in view.files(catalog, lambda _: iter(()), Stamp())]
    for path in shown:
        assert path.split("/")[0] in roots[kind]
        assert re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9._+-]*/)+[A-Za-z0-9][A-Za-z0-9._+-]*", path)
        assert ".." not in path.split("/")
    left_out = list(view.left_out(catalog))
    bodies = [found for found in view.files(catalog, lambda _: iter(()), None) if found.body]
    if not left_out:
        assert bodies or kind == "simplestreams", "a stage is shown, or it is said why not"


@pytest.mark.parametrize(
    "path",
    ["files/../x", "/files/x", "files//x", "files/", "files", "other/x", "files/.x", "files/a\nb"],
)
def test_what_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(BadInput, match="no path of a view"):
        list(checked([ViewFile(path=path)], "files"))


@pytest.mark.parametrize(
    "paths", [("files/a", "files/a"), ("files/a", "files/a/b"), ("files/a/b", "files/a")]
)
def test_nothing_takes_the_place_of_another(paths: tuple[str, ...]) -> None:
    with pytest.raises(BadInput, match="two stages are shown as"):
        list(checked([ViewFile(path=path) for path in paths], "files"))


@pytest.mark.parametrize("kind", ViewKind)
def test_two_stages_of_one_name_are_refused(kind: ViewKind) -> None:
    ending = ".tar.gz" if kind == "oci" else ".tar.xz"
    stages = [
        a_stage(variant=variant, tarball=a_file(f"a{ending}", sha256=sha * 32))
        for variant, sha in (("a b", "ab"), ("a-b", "cd"))
    ]
    (view,) = views_of([kind], Known())
    with pytest.raises(BadInput):
        list(view.files(catalog_of(*stages), lambda _: iter(()), None))


@pytest.mark.parametrize(
    ("arch", "subarch", "expected"),
    [
        ("x86-64bit", "generic_64", ("amd64", "amd64", "", "amd64", "x86_64", "")),
        ("amd64", "amd64", ("amd64", "amd64", "", "amd64", "x86_64", "")),
        ("amd64", "x86-64-v3", ("amd64", "amd64", "v3", "amd64", "x86_64", "x86-64-v3")),
        (
            *("x86-64bit", "intel64-skylake"),
            ("amd64", "amd64", "", "amd64", "x86_64", "intel64-skylake"),
        ),
        ("x86-32bit", "i686", ("x86", "386", "", "i386", "i686", "i686")),
        ("arm-64bit", "arm64_generic", ("arm64", "arm64", "", "arm64", "aarch64", "arm64_generic")),
        ("arm-32bit", "armv7a_hardfp", ("arm", "arm", "v7", "armhf", "armv7l", "armv7a_hardfp")),
        ("arm", "armv6j", ("arm", "arm", "v6", "armel", "armv6l", "armv6j")),
        ("arm", "armv5tel", ("arm", "arm", "v5", "", "", "armv5tel")),
        ("riscv", "rv64_lp64d", ("riscv", "riscv64", "", "riscv64", "riscv64", "rv64_lp64d")),
        ("hppa", "hppa1.1", ("hppa", "", "", "", "", "hppa1.1")),
    ],
)
def test_an_architecture_has_the_names_that_others_use(
    arch: str, subarch: str, expected: tuple[str, ...]
) -> None:
    found = platform_of(a_stage(arch=arch, subarch=subarch))
    names = (found.gentoo, found.oci, found.oci_variant, found.debian, found.kernel, found.subarch)
    assert names == expected


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        (a_stage(), "stage3-amd64-systemd"),
        (a_stage(variant=""), "stage3-amd64"),
        (a_stage(arch="x86-64bit", subarch="generic_64"), "stage3-amd64-systemd"),
        (a_stage(arch="arm", subarch="armv7a_hardfp"), "stage3-armv7a_hardfp-systemd"),
        (a_stage(product="stage 3/x", variant="musl+llvm"), "stage-3-x-amd64-musl+llvm"),
    ],
)
def test_the_name_of_a_variant(stage: Stage, name: str) -> None:
    assert stem(stage) == name
    assert version(stage) == "20261122T040405Z"
