"""`tarformers_specs`: what is unpacked and packed, as what, and for whom."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.planning.plan import tarformers
from tasks.archive.formats import Damaged
from tasks.archive.pax_headers import Member, edited
from tasks.archive.tarball import extract, pack, pack_summed
from tasks.errors import BadInput
from tasks.model import RenameRule, Tarformers, WriterRules
from tasks.reporting import Silent
from tests import trees

root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
LONG = "l" * 150


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("etc/hosts", "etc/motd", "usr/bin/tool", f"usr/share/{LONG}", "var/cache/x.tmp"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    os.link(tmp_path / "tree/etc/hosts", tmp_path / "tree/usr/hardlink")
    os.setxattr(tmp_path / "tree/etc/motd", "user.note", b"\0\n=")
    return tmp_path / "tree"


def names(path: Path) -> set[str]:
    return {str(found.relative_to(path)) for found in path.rglob("*") if not found.is_dir()}


def unpacked(tree: Path, rules: Tarformers) -> Path:
    made = pack(tree, tree.parent / "a.tar.zst", report=Silent())
    extract(Path(made.path), tree.parent / "back", report=Silent(), tarformers=rules)
    return tree.parent / "back"


def packed(tree: Path, rules: Tarformers) -> Path:
    pack_summed(tree, tree.parent / "a.tar.zst", report=Silent(), tarformers=rules)
    extract(tree.parent / "a.tar.zst", tree.parent / "back", report=Silent())
    return tree.parent / "back"


WAYS = pytest.mark.parametrize("way", [unpacked, packed])


@WAYS
def test_no_rule_changes_nothing(tree: Path, way) -> None:
    back = way(tree, Tarformers())
    assert trees.listing(back) == trees.listing(tree)


@WAYS
def test_what_does_not_match_is_left_out(tree: Path, way) -> None:
    rules = Tarformers(
        match_prefix=("/usr", "/var"), ignore_files=("/usr/bin/tool", "/usr/hardlink"),
        ignore_regexes=(r"\.tmp$",),
    )  # fmt: skip
    assert names(way(tree, rules)) == {f"usr/share/{LONG}"}


@WAYS
def test_names_are_changed(tree: Path, way) -> None:
    rules = Tarformers(
        rename=(RenameRule(source="/etc/motd", dest="/etc/" + "issue" * 40),),
        rename_paths=(
            RenameRule(source="/usr/share", dest="/opt/" + "deep/" * 60),
            RenameRule(source="/etc/ho", dest="/etc/g"),
        ),
    )
    back = way(tree, rules)
    assert names(back) >= {
        "etc/" + "issue" * 40, "opt/" + "deep/" * 60 + LONG, "etc/gsts", "usr/hardlink"
    }  # fmt: skip
    assert (back / "etc/gsts").stat().st_ino == (back / "usr/hardlink").stat().st_ino
    assert os.getxattr(back / ("etc/" + "issue" * 40), "user.note") == b"\0\n="
    assert not (back / "etc/motd").exists()


@root
@WAYS
def test_owners_are_mapped(tree: Path, way) -> None:
    os.chown(tree / "etc/motd", 1000, 3_000_000)
    back = way(tree, Tarformers(remap_uids={"1000": "5"}, remap_gids={"3000000": "4000000000"}))
    entry = (back / "etc/motd").stat()
    assert (entry.st_uid, entry.st_gid) == (5, 4_000_000_000)


@root
def test_a_source_can_be_unpacked_for_root(tree: Path) -> None:
    os.chown(tree / "etc/motd", 1000, 1000)
    assert (unpacked(tree, Tarformers(same_owner=False)) / "etc/motd").stat().st_uid == 0


def test_a_hard_link_is_packed_whole_when_its_first_name_is_left_out(tree: Path) -> None:
    back = packed(tree, Tarformers(ignore_files=("/etc/hosts",)))
    assert (back / "usr/hardlink").read_text() == "etc/hosts"


def test_an_output_also_matches_paths_of_the_host(tree: Path) -> None:
    back = packed(tree, Tarformers(ignore_files=(f"{tree}/etc/hosts",)))
    assert "etc/hosts" not in names(back)


def test_files_of_the_host_are_packed_too(tree: Path) -> None:
    other = tree.parent / "other"
    trees.plain(other)
    rules = Tarformers(
        writer=WriterRules(dirs=(str(other / "folder"),), files=(str(other / "file"),)),
        rename_paths=(RenameRule(source=str(other), dest="/extra"),),
    )
    back = packed(tree, rules)
    assert (back / "extra/file").read_text() == "content\n"
    assert (back / "extra/folder/noted").read_text() == "xattr"
    assert names(back) >= names(tree)


def test_access_times_are_kept_if_asked_for(tree: Path) -> None:
    packed(tree, Tarformers(same_chtimes=True))
    with tarfile.open(fileobj=io.BytesIO(_plain(tree.parent / "a.tar.zst"))) as tar:
        assert all("ctime" in member.pax_headers for member in tar)


def _plain(path: Path) -> bytes:
    from tasks.archive.decompress import decompress
    from tasks.archive.formats import Compression

    with path.open("rb") as file:
        return b"".join(decompress(file.read, Compression.ZSTD))


@pytest.mark.parametrize(
    "rules", [Tarformers(ignore_regexes=("(",)), Tarformers(remap_uids={"root": "1"})]
)
def test_rules_that_make_no_sense_are_bad_input(tree: Path, rules: Tarformers) -> None:
    with pytest.raises(BadInput, match="tarformers_specs"):
        packed(tree, rules)


@given(
    data=st.lists(
        st.tuples(
            st.text(min_size=1, max_size=300), st.binary(max_size=2000), st.integers(0, 2**40)
        ),
        max_size=5,
    ),
    form=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    size=st.integers(1, 3000),
)
def test_every_entry_can_be_changed_and_none_is_lost(data, form: int, size: int) -> None:
    """Any archive, in any pieces: what is not changed passes byte for byte, and what is changed
    reads as it was changed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, content, uid in data:
            info = tarfile.TarInfo(name.replace("\0", "_").replace("/", "_"))
            info.size, info.uid = len(content), uid
            tar.addfile(info, io.BytesIO(content))
    whole = buffer.getvalue()

    def pieces():
        return (whole[at : at + size] for at in range(0, len(whole), size))

    assert b"".join(edited(pieces(), lambda member: member)) == whole

    def change(member: Member) -> Member:
        return Member(b"new/" + member.name, member.link, member.uid + 1, 7, is_hard=False)

    with tarfile.open(fileobj=io.BytesIO(b"".join(edited(pieces(), change)))) as tar:
        found = [(m.name, tar.extractfile(m).read(), m.uid, m.gid) for m in tar]
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        expected = [("new/" + m.name, tar.extractfile(m).read(), m.uid + 1, 7) for m in tar]
    assert found == expected


@pytest.mark.parametrize("value", ["", "-512", "abc", "1_0", "7e1", "inf", "\xff"])
@pytest.mark.parametrize("key", ["size", "uid", "gid"])
def test_a_pax_header_with_what_is_no_number_is_damage(key: str, value: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("file")
        info.pax_headers = {key: value}
        tar.addfile(info)
    with pytest.raises(Damaged, match="it has a damaged pax header"):
        b"".join(edited(iter([buffer.getvalue()]), lambda member: member))


@pytest.mark.parametrize("size", [b"-0000001000\0", b"0o000001000\0", b"1_000000000\0"])
def test_a_header_with_what_is_no_number_is_damage(size: bytes) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("file"))
    data = buffer.getvalue()
    with pytest.raises(Damaged, match="it has a damaged header"):
        b"".join(edited(iter([data[:124] + size + data[136:]]), lambda member: member))


def test_a_specfile_s_options_become_rules() -> None:
    given = {
        "match_prefix": ["/usr"],
        "rename": [{"source": "/a", "dest": "/b"}],
        "remap_uids": {0: 1000},
        "writer": {"dirs": ["/srv"]},
        "copy_buffer_size": 32,
    }
    assert tarformers(given) == Tarformers(
        match_prefix=("/usr",),
        rename=(RenameRule(source="/a", dest="/b"),),
        remap_uids={"0": "1000"},
        writer=WriterRules(dirs=("/srv",)),
    )
    assert tarformers({"validate": True, "max_openfiles": 10, "same_owner": True}) is None
    assert tarformers(None) is None


@pytest.mark.parametrize("given", [{"match_prefix": "/usr"}, {"ignore_regexes": ["["]}])
def test_options_that_make_no_sense_are_bad_input(given: dict[str, object]) -> None:
    with pytest.raises(BadInput, match="tarformers_specs"):
        tarformers(given)
