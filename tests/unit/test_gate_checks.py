"""Each check on inventories made by hand: what is a finding, and what is none."""

from __future__ import annotations

import os
import struct
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from orchestrator.formats.gatefile import (
    Checks,
    FaultRule,
    Gatefile,
    LicenceRule,
    LinkRule,
    Override,
    Reported,
    Rule,
    Verdict,
)
from orchestrator.gate.checks.permissions import capabilities_of
from orchestrator.gate.checks.table import CHECKS
from orchestrator.gate.findings import StageKey
from orchestrator.gate.judge import FINDINGS_MAX, find
from tasks.artifacts.gate_tests import GateTest, Outcome
from tasks.artifacts.packages import Package
from tasks.inspection.inventory import Compiled, Entry, Inventory, Kind, Mark, Program
from tests.inventories import entry, folder, inventory, link

BARE = inventory()
Shown = tuple[str, str, str, str]


def found(candidate: Inventory, published: Inventory | None = None, **checks: Any) -> list[Shown]:
    findings = find(candidate, published, Gatefile(checks=Checks(**checks)))
    return [(item.check, item.path, item.before, item.after) for item in findings]


def test_every_check_of_the_policy_is_there() -> None:
    assert list(CHECKS) == list(Checks.__dataclass_fields__)


def test_nothing_is_wrong_with_a_bare_stage() -> None:
    assert found(BARE) == found(BARE, BARE) == []


# what all checks share


def test_a_fault_that_is_published_is_no_finding() -> None:
    old = inventory({"/a": entry(mode=0o666), "/b": link("x")})
    new = inventory({"/a": entry(mode=0o666), "/b": link("y"), "/c": entry(mode=0o666)})
    assert found(new, old) == [
        ("world_writable", "/c", "", "0666"),
        ("dangling_links", "/b", "x", "y"),
    ]
    assert ("world_writable", "/a", "", "0666") in found(
        new, old, world_writable=FaultRule(report=Reported.ALL)
    )


def test_what_the_policy_ignores_or_passes_is_no_finding() -> None:
    files = {"/a/b/c": entry(mode=0o666), "/a.b": entry(mode=0o666)}
    ignoring = FaultRule(ignore=("/a/*",))
    assert found(inventory(files), world_writable=ignoring) == [
        ("world_writable", "/a.b", "", "0666")
    ]
    assert found(inventory(files), world_writable=FaultRule(verdict=Verdict.PASS)) == []


def test_findings_that_hold_come_first_and_overrides_change_their_verdict() -> None:
    files = {"/a": link("gone"), "/b": entry(mode=0o666)}
    policy = Gatefile(
        overrides=(
            Override(
                variant="musl*", checks=Checks(world_writable=FaultRule(verdict=Verdict.WARN))
            ),
        )
    )
    held = find(inventory(files), None, policy)
    assert [(item.check, item.verdict) for item in held] == [
        ("world_writable", Verdict.HOLD),
        ("dangling_links", Verdict.WARN),
    ]
    key = StageKey(product="stage3", variant="musl-llvm")
    warned = find(inventory(files), None, policy, stage=key)
    assert {item.verdict for item in warned} == {Verdict.WARN}
    assert {item.digest for item in held} == {item.digest for item in warned}


def test_a_flood_of_findings_is_one_more() -> None:
    files = {f"/{number:05}": entry(mode=0o666) for number in range(FINDINGS_MAX + 7)}
    findings = find(inventory(files), None, Gatefile())
    assert len(findings) == FINDINGS_MAX + 1
    more = next(item for item in findings if not item.path)
    assert (more.after, more.message) == (
        f"more than {FINDINGS_MAX}", "there are 7 more findings of this check",
    )  # fmt: skip


def test_names_that_are_no_text_have_a_digest_of_their_own() -> None:
    files = {"/\udcff": entry(mode=0o666), "/\\xff": entry(mode=0o666)}
    findings = find(inventory(files), None, Gatefile())
    assert {item.path for item in findings} == {r"b'/\xff'", r"/\xff"}
    assert len({item.digest for item in findings}) == 2


# packages


def package(name: str, version: str, manager: str = "dpkg", **more: str) -> Package:
    return Package(manager=manager, name=name, version=version, **more)


def test_packages_lost_added_and_older() -> None:
    old = inventory(packages=(package("a", "1"), package("b", "2"), package("d", "1:1")))
    new = inventory(packages=(package("b", "2~rc1"), package("c", "1"), package("d", "1:2")))
    assert found(new, old) == [
        ("packages_downgraded", "b", "2", "2~rc1"),
        ("packages_lost", "a", "1", ""),
        ("packages_added", "c", "", "1"),
    ]
    assert found(new) == []


def test_packages_of_two_managers_with_one_name_are_told_apart() -> None:
    old = inventory(packages=(package("a", "1"), package("b", "1"), package("a", "1", "anise")))
    assert found(BARE, old) == [
        ("packages_lost", "anise:a", "1", ""),
        ("packages_lost", "b", "1", ""),
        ("packages_lost", "dpkg:a", "1", ""),
    ]


def test_a_package_of_several_slots_is_as_old_as_its_newest() -> None:
    old = inventory(packages=tuple(package("x/p", v, "portage", slot=v) for v in ("3.9", "3.11")))
    new = inventory(packages=tuple(package("x/p", v, "portage", slot=v) for v in ("3.11", "3.12")))
    assert found(new, old) == []
    assert found(old, new) == [("packages_downgraded", "x/p", "3.12", "3.11")]


def test_an_epoch_of_rpm_counts() -> None:
    old = inventory(packages=(package("a", "1.0-1", "rpm", epoch="1"),))
    new = inventory(packages=(package("a", "2.0-1", "rpm"),))
    assert found(new, old) == [("packages_downgraded", "a", "1:1.0-1", "2.0-1")]


def test_licences() -> None:
    def stage(**licences: str) -> Inventory:
        return inventory(
            packages=tuple(
                package(name, "1", "apk", licence=text) for name, text in licences.items()
            )
        )

    old = stage(a="MIT", b="GPL-2.0-only", c="", d="BUSL-1.1")
    new = stage(a="MIT", b="BUSL-1.1", c="Zlib", d="BUSL-1.1", e="MIT OR (GPL-3.0 AND Zlib)")
    assert [item for item in found(new, old) if item[0] == "licences"] == [
        ("licences", "b", "GPL-2.0-only", "BUSL-1.1")
    ]
    rule = LicenceRule(allowed=("MIT", "GPL-*", "Zlib"))
    assert [item[1:] for item in found(new, licences=rule)] == [
        ("b", "", "BUSL-1.1"),
        ("d", "", "BUSL-1.1"),
    ]


# permissions


def test_bits_are_compared_with_what_is_published() -> None:
    old = {"/su": entry(mode=0o4755), "/x": entry(mode=0o755), "/gone": entry(mode=0o4711)}
    new = {"/su": entry(mode=0o4755, uid=1), "/x": entry(mode=0o6755), "/new": folder(mode=0o2755)}
    assert found(inventory(new), inventory(old)) == [
        ("setgid", "/new", "", "2755 root:root"),
        ("setgid", "/x", "0755 root:root", "6755 root:root"),
        ("setuid", "/gone", "4711 root:root", ""),
        ("setuid", "/su", "4755 root:root", "4755 daemon:root"),
        ("setuid", "/x", "0755 root:root", "6755 root:root"),
    ]
    assert found(inventory(new)) == [], "the first stage has nothing to be compared with"


def test_owners_are_those_of_the_stage_itself() -> None:
    files = {
        "/srv": folder(uid=1001, gid=2002),
        "/srv/below": entry(uid=1001, gid=2002),
        "/srv/other": entry(uid=1001, gid=3003),
    }
    assert found(inventory(files)) == [
        ("unknown_owners", "/srv", "", "group 2002, user 1001"),
        ("unknown_owners", "/srv/other", "", "group 3003"),
    ]
    texts = {"/etc/passwd": b"a:x:1001:1::/:\nodd:x:\nodd:x:one:1\n", "/etc/group": b"g:x:2002:\n"}
    assert found(inventory(files, texts=texts)) == [
        ("unknown_owners", "/srv/other", "", "group 3003")
    ]


def test_devices_and_pipes() -> None:
    def device(content: str) -> Entry:
        return entry(Kind.CHARACTER_DEVICE, content=content, mode=0o666)

    files = {
        "/dev/null": device("1:3"),
        "/dev/zero": entry(Kind.BLOCK_DEVICE, content="1:5"),
        "/dev/mem": device("1:1"),
        "/null": device("1:3"),
        "/pipe": entry(Kind.FIFO, mode=0o666),
    }
    assert found(inventory(files)) == [
        ("device_nodes", "/dev/mem", "", "character device 1:1"),
        ("device_nodes", "/dev/zero", "", "block device 1:5"),
        ("device_nodes", "/null", "", "character device 1:3"),
        ("special_files", "/pipe", "", "fifo"),
    ]


def test_sticky_folders_may_be_written_by_all() -> None:
    files = {"/tmp": folder(mode=0o1777), "/link": link("/tmp"), "/x": folder(mode=0o777)}
    assert found(inventory(files)) == [("world_writable", "/x", "", "0777")]


@pytest.mark.root
@pytest.mark.parametrize(
    "text", ["cap_net_raw=ep", "cap_chown,cap_bpf=p", "cap_setuid=i", "cap_chown=eip cap_mknod=ep"]
)
def test_setcap_reads_what_is_shown(tmp_path: Path, text: str) -> None:
    files = [tmp_path / "given", tmp_path / "shown"]
    attributes = []
    for file in files:
        file.touch()
        subprocess.run(["setcap", text, str(file)], check=True)
        attributes.append(os.getxattr(file, "security.capability"))
        value = attributes[-1].decode("utf-8", "surrogateescape")
        text = capabilities_of(entry(xattrs=(("SCHILY.xattr.security.capability", value),)))
    assert attributes[0] == attributes[1]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "unreadable: "),
        (struct.pack("<I", 0x7F000001), "unreadable: 0100007f"),
        (struct.pack("<IIIII", 0x02000000, 0, 0, 0, 0), "none"),
        (struct.pack("<IIIIII", 0x03000001, 1, 0, 0, 0, 7), "cap_chown=ep [rootid=7]"),
        (struct.pack("<IIIII", 0x02000001, 0, 0, 1 << 31, 0), "63=ep"),
        (struct.pack("<III", 0x01000000, 1 << 13, 0), "cap_net_raw=p"),
    ],
)
def test_capabilities_of_every_revision_and_none(data: bytes, text: str) -> None:
    value = data.decode("utf-8", "surrogateescape")
    assert capabilities_of(entry(xattrs=(("SCHILY.xattr.security.capability", value),))) == text


# links


def test_where_links_may_lead_is_a_matter_of_the_policy() -> None:
    files = {"/a": link("/run/x"), "/b": link("/data/x"), "/c": link("/datax"), "/proc": folder()}
    rule = LinkRule(run_time=("/data/",))
    assert found(inventory(files), dangling_links=rule) == [
        ("dangling_links", "/a", "", "/run/x"),
        ("dangling_links", "/c", "", "/datax"),
    ]


def test_a_hard_link_whose_file_is_gone_dangles() -> None:
    files = {
        "/a": entry(Kind.HARD_LINK, content="/b"),
        "/c": entry(Kind.HARD_LINK, content="/d"),
        "/d": entry(),
    }
    assert found(inventory(files)) == [("dangling_links", "/a", "", "/b")]


# programs


def program(**headers: Any) -> Program:
    return Program(**{"machine": "EM_X86_64", "bits": 64, **headers})


LOADER = {"/lib64/ld-linux-x86-64.so.2": program()}
START = {"interpreter": "/lib64/ld-linux-x86-64.so.2"}


def missing(
    programs: dict[str, Program], files: dict[str, Entry] | None = None, **texts: str
) -> list[tuple[str, str]]:
    """What is missing to which program."""
    kept = {
        f"/etc/{name.replace('__', '/').replace('_', '.')}": text.encode()
        for name, text in texts.items()
    }
    stage = inventory(files, programs={**LOADER, **programs}, texts=kept)
    return [(path, after) for check, path, _, after in found(stage) if check == "missing_libraries"]


@pytest.mark.parametrize(
    ("place", "bits", "machine"),
    [
        ("/lib", 64, "EM_X86_64"),
        ("/usr/lib64", 64, "EM_PPC64"),
        ("/usr/lib32", 32, "EM_386"),
        ("/usr/lib/aarch64-linux-gnu", 64, "EM_AARCH64"),
        ("/lib/arm-linux-gnueabihf", 32, "EM_ARM"),
    ],
)
def test_usual_folders_of_classes_and_machines(place: str, bits: int, machine: str) -> None:
    tool = program(bits=bits, machine=machine, needed=("liba.so.1",), **START)
    library = program(bits=bits, machine=machine)
    assert missing({"/bin/tool": tool, f"{place}/liba.so.1": library}) == []
    assert missing({"/bin/tool": tool, "/opt/liba.so.1": library}) == [("/bin/tool", "liba.so.1")]
    other = replace(library, bits=96 - bits)
    assert missing({"/bin/tool": tool, f"{place}/liba.so.1": other}) == [("/bin/tool", "liba.so.1")]


def test_libraries_are_found_through_links_of_files_and_folders() -> None:
    tool = program(needed=("liba.so.1",), **START)
    files = {"/lib": link("usr/lib"), "/usr/lib/liba.so.1": link("liba.so.1.2")}
    assert missing({"/bin/tool": tool, "/usr/lib/liba.so.1.2": program()}, files) == []
    files["/usr/lib/liba.so.1"] = entry(Kind.HARD_LINK, content="/usr/lib/liba.so.1.2")
    assert missing({"/bin/tool": tool, "/usr/lib/liba.so.1.2": program()}, files) == []


def test_the_folders_of_ld_so_conf_and_what_it_includes() -> None:
    programs = {"/bin/tool": program(needed=("a.so", "b.so", "c.so"), **START)}
    programs |= {f"/opt/{name}/{name}.so": program() for name in "abc"}
    texts = {
        "ld_so_conf": "# x\n/opt/a # y\ninclude ld.so.conf.d/*.conf\ninclude /etc/ld.so.conf\n",
        "ld_so_conf_d__b_conf": "/opt/b,/opt/x:/opt/y\n",
        "ld_so_conf_d__c_off": "/opt/c\n",
    }
    assert missing(programs, **texts) == [("/bin/tool", "c.so")]


@pytest.mark.parametrize(
    ("runpath", "is_found"),
    [
        ("$ORIGIN/../lib", True),
        ("${ORIGIN}/../lib", True),
        ("/opt/x/$LIB", True),
        ("/opt/x/${LIB}/", True),
        ("/opt/y:/opt/x/lib", False),
        ("lib", False),
        ("$ORIGIN/../../../../../opt/x/lib", True),
    ],
)
def test_runpaths(runpath: str, is_found: bool) -> None:
    tool = program(needed=("a.so",), runpath=(runpath,), **START)
    programs = {"/opt/x/bin/tool": tool, "/opt/x/lib/a.so": program()}
    assert missing(programs) == ([] if is_found else [("/opt/x/bin/tool", "a.so")])


def test_a_plugin_counts_on_what_lies_beside_it_and_a_program_does_not() -> None:
    programs = {"/opt/x/p.so": program(needed=("a.so",)), "/opt/x/deep/a.so": program()}
    assert missing(programs) == []
    assert missing({**programs, "/opt/x/tool": program(needed=("a.so",), **START)}) == [
        ("/opt/x/tool", "a.so")
    ]
    programs = {"/usr/lib/p.so": program(needed=("a.so",)), "/usr/lib/deep/a.so": program()}
    assert missing(programs) == [("/usr/lib/p.so", "a.so")]


def test_a_library_with_a_path_is_looked_for_there() -> None:
    programs = {"/bin/t": program(needed=("/opt/a.so", "x/b.so"), **START), "/opt/a.so": program()}
    assert missing(programs) == [("/bin/t", "x/b.so")]


def test_musl_has_its_own_folders_and_is_several_libraries_itself() -> None:
    loader = {"interpreter": "/lib/ld-musl-x86_64.so.1"}
    programs = {
        "/lib/ld-musl-x86_64.so.1": program(),
        "/bin/tool": program(needed=("libc.so", "libm.so", "a.so", "b.so"), **loader),
        "/usr/local/lib/a.so": program(),
        "/opt/b.so": program(),
    }
    assert missing(programs) == [("/bin/tool", "b.so")]
    assert missing(programs, **{"ld-musl-x86__64_path".replace("__", "_"): ""}) == [
        ("/bin/tool", "b.so")
    ]


def test_loaders_and_interpreters() -> None:
    programs = {**LOADER, "/bin/a": program(**START), "/bin/b": program(interpreter="/lib/ld.so.1")}
    scripts = {
        "/bin/1": "/bin/a",
        "/bin/2": "/bin/gone -x",
        "/bin/3": "/usr/bin/env a",
        "/bin/4": "/usr/bin/env -S X=1 gone -w",
        "/bin/5": "sh",
        "/bin/6": "/usr/bin/env",
        "/bin/7": "/usr/bin/env /bin/gone",
        "/bin/not-executable": "/bin/gone",
        "/usr/share/doc/example": "/bin/gone",
        "/bin/8": "",
    }
    files = {"/usr/bin/env": entry(), "/bin/not-executable": entry(mode=0o644)}
    assert found(inventory(files, programs=programs, scripts=scripts)) == [
        ("missing_loaders", "/bin/b", "", "/lib/ld.so.1"),
        ("missing_interpreters", "/bin/2", "", "/bin/gone"),
        ("missing_interpreters", "/bin/4", "", "gone"),
        ("missing_interpreters", "/bin/5", "", "sh"),
        ("missing_interpreters", "/bin/7", "", "/bin/gone"),
    ]


# leftovers


@pytest.mark.parametrize(
    ("path", "text", "check"),
    [
        ("/etc/resolv.conf", "# made by x\n; y\n\n", ""),
        ("/etc/resolv.conf", "search example.org\n", "resolv_conf"),
        ("/etc/machine-id", "uninitialized\n", ""),
        ("/etc/machine-id", "", ""),
        ("/var/lib/dbus/machine-id", "0123456789abcdef0123456789abcdef", "machine_id"),
        ("/etc/shadow", "root:!:1\na:*:1\nb:!$6$x:1\nodd\n", ""),
        ("/etc/shadow", "root::1\n", "passwords"),
        ("/etc/shadow-", "root:$6$x$y:1\n", "passwords"),
        ("/etc/passwd", "root:x:0:0::/:\na:$6$x$y:1:1::/:\n", "passwords"),
    ],
)
def test_settings_of_the_build(path: str, text: str, check: str) -> None:
    stage = inventory(texts={path: text.encode()})
    assert [(item[0], item[1]) for item in found(stage)] == ([(check, path)] if check else [])


def test_a_link_to_a_machine_id_is_none() -> None:
    texts = {"/etc/machine-id": b"0123456789abcdef0123456789abcdef\n"}
    stage = inventory({"/var/lib/dbus/machine-id": link("/etc/machine-id")}, texts=texts)
    assert found(stage) == [("machine_id", "/etc/machine-id", "", "set")]


@pytest.mark.parametrize(
    ("path", "findings"),
    [
        ("/root/.bash_history", [("histories", "/root/.bash_history")]),
        ("/home/a/.python_history", [("histories", "/home/a/.python_history")]),
        ("/usr/share/history", []),
        ("/var/cache/apt/archives/a.deb", [("caches", "/var/cache/apt/archives")]),
        ("/var/cache/apt/archives/partial/a", []),
        ("/var/cache/apt/pkgcache.bin", [("caches", "/var/cache/apt")]),
        ("/var/cache/distfiles/a/b", [("caches", "/var/cache/distfiles")]),
        ("/home/a/.cache/pip/x", [("caches", "/home/a/.cache")]),
        ("/var/cache/pacman/pkg/x", [("caches", "/var/cache/pacman/pkg")]),
        ("/var/cache/debconf/config.dat", []),
        ("/etc/ssh/ssh_host_rsa_key", [("host_keys", "/etc/ssh/ssh_host_rsa_key")]),
        ("/etc/ssh/ssh_host_rsa_key.pub", []),
    ],
)
def test_files_that_are_left(path: str, findings: list[tuple[str, str]]) -> None:
    assert [item[:2] for item in found(inventory({path: entry()}))] == findings
    assert found(inventory({path: entry(size=0)})) == found(inventory({path: entry(size=0)}), BARE)


def test_marks_of_files() -> None:
    marks = {
        "/etc/key": (Mark.PRIVATE_KEY,),
        "/etc/ssh/ssh_host_rsa_key": (Mark.PRIVATE_KEY,),
        "/usr/lib/x/tests/key": (Mark.PRIVATE_KEY,),
        "/usr/lib/a.la": (Mark.BUILD_PATH,),
        "/bin/odd": (Mark.DAMAGED,),
    }
    assert found(inventory({path: entry() for path in marks}, marks=marks)) == [
        ("host_keys", "/etc/ssh/ssh_host_rsa_key", "", "present"),
        ("private_keys", "/etc/key", "", "present"),
        ("unreadable_files", "/bin/odd", "", "damaged"),
        ("build_paths", "/usr/lib/a.la", "", "present"),
    ]


def test_compiled_python() -> None:
    files = {"/p/a.py": entry(size=5, mtime=100.7), "/p/b.py": entry(size=5, mtime=101.0)}
    compiled = {
        "/p/__pycache__/a.cpython-311.pyc": Compiled(source_mtime=100, source_size=5),
        "/p/__pycache__/a.cpython-311.opt-1.pyc": Compiled(source_mtime=100, source_size=6),
        "/p/b.pyc": Compiled(source_mtime=100, source_size=5),
        "/p/alone.pyc": Compiled(source_mtime=100, source_size=5),
        "/p/__pycache__/gone.cpython-311.pyc": Compiled(source_mtime=100, source_size=5),
    }
    stage = inventory({**files, **{path: entry() for path in compiled}}, compiled=compiled)
    assert [item[1:] for item in found(stage)] == [
        ("/p/__pycache__/a.cpython-311.opt-1.pyc", "", "another source"),
        ("/p/__pycache__/gone.cpython-311.pyc", "", "no source"),
        ("/p/b.pyc", "", "another source"),
    ]


# tests


def test_tests_that_failed_or_are_missing() -> None:
    tests = [
        GateTest(name="shell", outcome=Outcome.PASSED),
        GateTest(name="locale", outcome=Outcome.FAILED, message="no C.UTF-8"),
        GateTest(name="boot", outcome=Outcome.SKIPPED, message="no systemd"),
        GateTest(name="ldconfig", outcome=Outcome.SKIPPED),
    ]
    policy = Gatefile(require_tests=("shell", "boot", "mine"))
    findings = find(BARE, None, policy, tests=tests)
    assert [(item.path, item.after, item.message) for item in findings] == [
        ("boot", "skipped", "the policy requires it: no systemd"),
        ("locale", "failed", "no C.UTF-8"),
        ("mine", "missing", "the policy requires it, and the host did not run it"),
    ]
    assert len(find(BARE, None, policy)) == 3, "no results at all"
    assert find(BARE, None, replace(policy, checks=Checks(tests=Rule(verdict=Verdict.PASS)))) == ()


# hostile inventories

NAMES = some.lists(
    some.sampled_from(
        ["a", "b", "lib", "etc", "..", ".", "x.pyc", "__pycache__", "\udcff", "\n", "*["]
    ),
    max_size=4,
).map(lambda parts: "/" + "/".join(parts))
TEXTS = some.sampled_from(
    [
        "",
        "/",
        "..",
        "../..",
        "a",
        "/a/b",
        "/lib/../b/a",
        "\udc80",
        "$ORIGIN",
        "$LIB/${LIB}",
        "\x00",
        "1:3",
    ]
)
ENTRIES = some.builds(
    entry,
    some.sampled_from(Kind),
    mode=some.integers(0, 0o7777),
    uid=some.integers(0, 2**33),
    gid=some.integers(0, 2**33),
    size=some.integers(0, 2**60),
    mtime=some.floats(-1e9, 1e12),
    content=TEXTS,
    xattrs=some.tuples(some.tuples(some.just("SCHILY.xattr.security.capability"), some.text())),
)
PROGRAMS = some.builds(
    Program,
    machine=some.sampled_from(["EM_X86_64", "EM_1234"]),
    bits=some.sampled_from([32, 64]),
    little_endian=some.booleans(),
    interpreter=TEXTS,
    needed=some.lists(TEXTS, max_size=3).map(tuple),
    runpath=some.lists(TEXTS, max_size=3).map(tuple),
)
KEPT = some.sampled_from(
    [
        "/etc/passwd", "/etc/shadow", "/etc/ld.so.conf", "/etc/resolv.conf", "/etc/machine-id",
        "/etc/ld-musl-x.path", "/var/lib/debsecan/x", "/var/db/repos/a/metadata/glsa/glsa-1.xml",
    ]
)  # fmt: skip
STAGES = some.builds(
    Inventory,
    name=some.just("x"),
    sha256=some.just("0"),
    size_bytes=some.integers(0, 2**60),
    files=some.dictionaries(NAMES, ENTRIES, max_size=8),
    packages=some.lists(
        some.builds(
            Package, name=some.sampled_from(["a", "b"]),
            manager=some.sampled_from(["dpkg", "rpm", "portage", "apk", "pacman", "anise"]),
            version=some.text(), source=some.text(), licence=some.text(), slot=some.text(),
        ),
        max_size=4,
    ).map(tuple),
    programs=some.dictionaries(NAMES, PROGRAMS, max_size=4),
    scripts=some.dictionaries(NAMES, TEXTS, max_size=3),
    texts=some.dictionaries(KEPT, some.binary(max_size=60), max_size=4),
    marks=some.dictionaries(NAMES, some.just(tuple(Mark)), max_size=2),
    compiled=some.dictionaries(
        NAMES, some.just(Compiled(source_mtime=0, source_size=0)), max_size=3
    ),
)  # fmt: skip


@given(STAGES, some.none() | STAGES)
def test_no_inventory_is_too_strange(candidate: Inventory, published: Inventory | None) -> None:
    findings = find(candidate, published, Gatefile())
    assert len({item.digest for item in findings}) == len(findings)
    assert find(candidate, candidate, Gatefile()) == ()
    assert all(item.check in CHECKS for item in findings)
