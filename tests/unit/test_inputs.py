"""Batches built from git repositories: what is fetched, how it is pinned, and what is refused."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.farm.context import bundle
from orchestrator.inputs.freezing import Frozen, frozen, frozen_again
from orchestrator.inputs.repository import opened
from orchestrator.planning.batch import load_batch
from orchestrator.planning.batch_plan import plan_batch
from tasks.errors import BadInput, SpecProblems, StagefarmError
from tasks.settings import Settings
from tests.builds import any_build
from tests.repositories import Origin, served


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return Origin.make(tmp_path / "git/stages")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return Settings(state_dir=str(tmp_path / "state"), git_protocols="file:git")


SPEC = """
engine: {engine}
jobs:
- name: base
  source: {{type: file, path: /seed.tar}}
  output: {{type: file, name: "{{{{ {value}.ref }}}}-{{{{ {value}.commit }}}}.tar", dir: /out}}
  workspacedir: /workspace
  options: {{arch: x86-64bit}}
"""
Freeze = Callable[..., Frozen]


@pytest.fixture
def freeze(tmp_path: Path, settings: Settings) -> Freeze:
    """What a batch with the given lines of `inputs:` is built from."""

    def now(*inputs: str, settings: Settings = settings) -> Frozen:
        batch = tmp_path / "nightly.yaml"
        lines = "".join(f"  {line}\n" for line in inputs)
        batch.write_text(f"inputs:\n{lines}builds:\n- specfile: stages/x.yaml\n")
        with frozen(batch, settings) as found:
            assert found
            return found

    return now


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_branch_is_pinned_and_its_files_are_written(origin: Origin, freeze: Freeze) -> None:
    first = origin.commit({"specs/a.yaml": "one", "hooks/x": "$Format:%H$", ".gitignore": "hooks"})
    found = freeze(f"stages: {{git: '{origin.url}', ref: main}}")
    assert [(one.commit, one.ref, one.path) for one in found.inputs] == [(first, "main", "stages")]
    assert (found.folder / "stages/specs/a.yaml").read_text() == "one"
    assert (found.folder / "stages/hooks/x").read_text() == "$Format:%H$", "as it is in the commit"
    second = origin.commit({"specs/a.yaml": "two"}, parent=first)
    again = freeze(f"stages: {{git: '{origin.url}', ref: main}}")
    assert (again.folder, again.inputs[0].commit) == (found.folder, second)
    assert names_in(again.folder) == ["stages", "stages/specs", "stages/specs/a.yaml"]


def test_history_that_was_rewritten_is_followed(origin: Origin, freeze: Freeze) -> None:
    first = origin.commit({"a": "one"})
    origin.commit({"a": "two"}, parent=first)
    freeze(f"stages: '{origin.url}'")
    other = origin.commit({"a": "other"})
    assert freeze(f"stages: '{origin.url}'").inputs[0].commit == other


def test_tags_and_commits_are_found_and_only_what_is_new_is_fetched(
    origin: Origin, freeze: Freeze, settings: Settings
) -> None:
    first = origin.commit({"a": "one"})
    origin.git("tag", "-a", "-m", "a release", "v1", first)
    origin.commit({"a": "two"}, parent=first)
    for ref in ("v1", first):
        found = freeze(f"stages: {{git: '{origin.url}', ref: '{ref}'}}")
        assert found.inputs[0].commit == first
        assert (found.folder / "stages/a").read_text() == "one"
    origin.folder.rename(origin.folder.with_name("away"))
    assert freeze(f"stages: {{git: '{origin.url}', ref: '{first}'}}").inputs[0].commit == first
    with pytest.raises(StagefarmError, match="cannot fetch file://"):
        freeze(f"stages: {{git: '{origin.url}', ref: v1}}")


def test_a_commit_of_a_server_that_gives_branches_only(
    origin: Origin, freeze: Freeze, settings: Settings, tmp_path: Path
) -> None:
    first = origin.commit({"a": "one"})
    origin.commit({"a": "two"}, parent=first)
    freeze(f"stages: '{origin.url}'")
    old = tmp_path / "gitconfig"
    old.write_text("[protocol]\nversion = 0\n")
    with_it = Settings(state_dir=settings.state_dir, git_protocols="file", git_config_file=str(old))
    line = f"stages: {{git: '{origin.url}', ref: %s}}"
    assert freeze(line % first, settings=with_it).inputs[0].commit == first
    with pytest.raises(StagefarmError, match=r"has no commit 1{40} in its branches"):
        freeze(line % f"'{'1' * 40}'", settings=with_it)


def test_repositories_lie_in_each_other_where_they_are_asked_to(
    tmp_path: Path, origin: Origin, freeze: Freeze
) -> None:
    other = Origin.make(tmp_path / "git/overlay")
    other.commit({"b": "b"})
    sub = other.git("rev-parse", "main")
    tree = origin.tree(
        ("100644", b"a", origin.blob(b"a")),
        ("160000", b"overlay", sub),
        ("120000", b"link", origin.blob(b"overlay")),
    )
    origin.commit_tree(tree)
    overlay = f"overlay: {{git: '{other.url}', path: %s}}"
    whole = f"stages: {{git: '{origin.url}', path: .}}"
    found = freeze(overlay % "overlay", whole)
    assert names_in(found.folder) == ["a", "link", "overlay", "overlay/b"]
    for path in ("a", "link", "link/below"):
        with pytest.raises(BadInput, match="another one has files there"):
            freeze(whole, overlay % path)


def test_the_same_commit_is_the_same_bundle_whoever_fetches_it(
    origin: Origin, freeze: Freeze, settings: Settings, tmp_path: Path
) -> None:
    origin.commit({"hooks/run": "echo"}, mode="100755")
    before = os.umask(0o077)
    try:
        one = freeze(f"stages: '{origin.url}'")
        first = bundle(one.folder, (), 10**6)
    finally:
        os.umask(before)
    other = freeze(
        f"stages: '{origin.url}'",
        settings=Settings(state_dir=str(tmp_path / "other"), git_protocols="file"),
    )
    assert bundle(other.folder, (), 10**6) == first
    assert os.access(other.folder / "stages/hooks/run", os.X_OK)


# Hostile repositories


def refused(origin: Origin, freeze: Freeze, *entries: tuple[str, bytes, str]) -> str:
    origin.commit_tree(origin.tree(*entries))
    with pytest.raises(BadInput) as error:
        freeze(f"stages: '{origin.url}'")
    return str(error.value)


@pytest.mark.parametrize("target", [b"/etc/passwd", b"../../etc", b"d/up/..", b"d/up/../x"])
def test_links_that_leave_the_repository_are_refused(
    origin: Origin, freeze: Freeze, target: bytes
) -> None:
    inner = origin.tree(("120000", b"up", origin.blob(b"..")))
    link = ("120000", b"out", origin.blob(target))
    assert "the link out leads out" in refused(origin, freeze, ("40000", b"d", inner), link)


@pytest.mark.parametrize(
    "name", [b".git", b".GIT", b"..", b".", b"a\nb", b"a\x1bb", b'q"', b"\xff"]
)
def test_names_that_could_harm_are_refused(origin: Origin, freeze: Freeze, name: bytes) -> None:
    inner = origin.tree(("100644", b"config", origin.blob(b"x")))
    said = refused(origin, freeze, ("40000", name, inner))
    assert "name or mode that is not taken" in said
    assert said.isprintable()


def test_names_that_are_there_twice_are_refused(origin: Origin, freeze: Freeze) -> None:
    inner = origin.tree(("100644", b"x", origin.blob(b"x")))
    for target in (b"../../../outside", b"d"):
        link = ("120000", b"a", origin.blob(target))
        assert "has a twice" in refused(origin, freeze, link, ("40000", b"a", inner))
    same = ("100644", b"b", origin.blob(b"x"))
    assert "has b twice" in refused(origin, freeze, same, same)


def test_neither_hooks_nor_filters_nor_submodules_of_it_are_run(
    origin: Origin, freeze: Freeze, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    modules = f"[submodule \"m\"]\n\tpath = m\n\turl = ext::sh -c 'touch {ran}'\n"
    hooks = origin.tree(
        ("100755", b"post-checkout", origin.blob(f"#!/bin/sh\ntouch {ran}".encode()))
    )
    origin.commit_tree(
        origin.tree(
            ("100644", b".gitattributes", origin.blob(b"* filter=evil export-ignore\n")),
            ("100644", b".gitmodules", origin.blob(modules.encode())),
            ("40000", b"hooks", hooks),
            ("160000", b"m", "1" * 40),
        )
    )
    found = freeze(f"stages: '{origin.url}'")
    assert not ran.exists()
    assert list((found.folder / "stages/m").iterdir()) == []
    assert (found.folder / "stages/hooks/post-checkout").exists()


def test_what_is_too_large_is_refused(origin: Origin, freeze: Freeze, settings: Settings) -> None:
    small = Settings(state_dir=settings.state_dir, git_protocols="file", git_limit_bytes=100_000)
    origin.commit({"zeros": "0" * 200_000})
    with pytest.raises(BadInput, match="200,000 bytes, more than 100,000"):
        freeze(f"stages: '{origin.url}'", settings=small)
    origin.commit_tree(origin.tree(("100644", b"noise", origin.blob(os.urandom(200_000)))))
    with pytest.raises(StagefarmError, match="is larger than 100,000 bytes"):
        freeze(f"stages: '{origin.url}'", settings=small)


def test_a_tree_that_unfolds_without_end_is_refused(origin: Origin, freeze: Freeze) -> None:
    inner = origin.tree(("100644", b"x", origin.blob(b"")))
    for _ in range(7):
        inner = origin.tree(*(("40000", str(n).encode(), inner) for n in range(10)))
    assert "has more than 100,000 files" in refused(origin, freeze, ("40000", b"d", inner))


# Servers, and what a machine allows


def test_only_what_the_machine_allows_is_fetched(origin: Origin, freeze: Freeze) -> None:
    for url in ("ssh://git@example.org/x", "http://example.org/x"):
        with pytest.raises(BadInput, match="this machine allows file:git"):
            freeze(f"stages: '{url}'")


def test_a_server_on_the_network(origin: Origin, freeze: Freeze, tmp_path: Path) -> None:
    commit = origin.commit({"a": "one"})
    with served(tmp_path / "git") as url:
        assert freeze(f"stages: {url}/stages").inputs[0].commit == commit
    with pytest.raises(
        StagefarmError, match=f"cannot fetch {url}/stages: fatal: unable to connect"
    ):
        freeze(f"stages: {url}/stages")
    with pytest.raises(StagefarmError, match="couldn't find remote ref nope"):
        freeze(f"stages: {{git: '{origin.url}', ref: nope}}")


def test_what_a_killed_fetch_left_is_in_nobodys_way(
    origin: Origin, freeze: Freeze, settings: Settings
) -> None:
    first = origin.commit({"a": "one"})
    freeze(f"stages: '{origin.url}'")
    with opened(origin.url, settings) as repository:
        kept = repository.folder
    for name in ("shallow.lock", "packed-refs.lock", "config.lock", "objects/pack/tmp_pack_x"):
        (kept / name).touch()
    second = origin.commit({"a": "two"}, parent=first)
    assert freeze(f"stages: '{origin.url}'").inputs[0].commit == second
    assert not list(kept.rglob("tmp_*"))


def test_the_signature_of_a_commit_or_tag_is_verified(
    origin: Origin, freeze: Freeze, tmp_path: Path
) -> None:
    for name in ("ours", "theirs"):
        key = ("-t", "ed25519", "-N", "", "-C", name, "-f", str(tmp_path / name))
        subprocess.run(["ssh-keygen", "-q", *key], check=True)
    public = (tmp_path / "ours.pub").read_text()
    (tmp_path / "signers").write_text(f"ours@example.org {public}")
    line = f"stages: {{git: '{origin.url}', ref: %s, signers: signers}}"
    origin.commit({"a": "unsigned"})
    for key in ("theirs", "ours"):
        sign = ("-c", "gpg.format=ssh", "-c", f"user.signingKey={tmp_path / key}.pub")
        tree = origin.git("rev-parse", "main^{tree}")
        commit = origin.git(*sign, "commit-tree", "-S", tree, "-m", key)
        origin.git("update-ref", f"refs/heads/{key}", commit)
        origin.git(*sign, "tag", "-s", "-m", "v", f"by-{key}", "main")
    for ref in ("main", "theirs", "by-theirs"):
        with pytest.raises(BadInput, match="is not signed by anyone of"):
            freeze(line % ref)
    origin.git("update-ref", "refs/tags/v2", "refs/tags/by-ours")
    with pytest.raises(BadInput, match="v2 is a signed tag of another name"):
        freeze(line % "v2")
    for ref in ("ours", "by-ours"):
        assert freeze(line % ref).inputs[0].signers == str(tmp_path / "signers")


@pytest.mark.parametrize(
    ("engine", "value"),
    [("helm", ".Values.inputs.stages"), ("jinja2", "options.inputs.stages")],
)
def test_templates_see_what_was_pinned(
    origin: Origin, freeze: Freeze, tmp_path: Path, engine: str, value: str
) -> None:
    commit = origin.commit({"x.yaml": SPEC.format(engine=engine, value=value)})
    found = freeze(f"stages: {{git: '{origin.url}', ref: main}}")
    (build,) = plan_batch(
        tmp_path / "nightly.yaml",
        overrides={},
        now=datetime.now(UTC),
        folder=found.folder,
        inputs=found.inputs,
    )
    assert build.output.name == f"main-{commit}.tar"
    assert (build.overrides, build.environment) == ("", {"arch": "x86-64bit"})
    assert build.specfile == str(found.folder / "stages/x.yaml")


def test_a_build_is_frozen_again_only_where_it_was_submitted(
    origin: Origin, freeze: Freeze, settings: Settings
) -> None:
    first = origin.commit({"a": "one"})
    found = freeze(f"stages: '{origin.url}'")
    build = any_build(folder=str(found.folder), inputs=found.inputs)
    second = origin.commit({"a": "two"}, parent=first)
    with frozen_again(build, settings) as again:
        assert again
        assert (again.folder, again.inputs[0].commit) == (found.folder, second)
    with (
        pytest.raises(BadInput, match="which is not of this machine and user"),
        frozen_again(replace(build, folder="/etc"), settings),
    ):
        pass
    with frozen_again(any_build(), settings) as nothing:
        assert nothing is None


# The batch file


WRONG = {
    "Stages: {git: 'https://example.org/x'}": "cannot be the name of an input",
    "s: {git: 'ext::sh -c id'}": "not a URL that begins with",
    "s: {git: 'git@example.org:x'}": "not a URL that begins with",
    "s: {git: '-oProxyCommand=x'}": "not a URL that begins with",
    "s: {git: 'ssh://-oProxyCommand=x/y'}": "not a URL with the name of a server",
    "s: {git: 'https:///x'}": "not a URL with the name of a server",
    "s: {git: 'https://me:secret@example.org/x'}": "would be published",
    "s: {git: 'https://token@example.org/x'}": "would be published",
    "s: {git: 'https://example.org/x', ref: '--upload-pack=x'}": "is not the name of a branch",
    "s: {git: 'https://example.org/x', ref: 'a:b'}": "is not the name of a branch",
    "s: {git: 'https://example.org/x', ref: 'a..b'}": "is not the name of a branch",
    "s: {git: 'https://example.org/x', path: ../y}": "not a folder within",
    "s: {git: 'https://example.org/x', path: /y}": "not a folder within",
    "s: {git: 'https://example.org/x', path: .git/y}": "not a folder within",
    "s: {ref: main}": "`git` is missing",
}


@pytest.mark.parametrize("line", WRONG)
def test_mistakes_in_a_batch_are_told(tmp_path: Path, line: str) -> None:
    batch = tmp_path / "nightly.yaml"
    batch.write_text(f"inputs:\n  {line}\nbuilds:\n- specfile: s/x.yaml\n")
    with pytest.raises(SpecProblems) as error:
        load_batch(batch)
    assert WRONG[line] in str(error.value)
    assert f"{batch}:2:" in str(error.value)


def test_a_batch_is_not_planned_without_its_inputs(tmp_path: Path) -> None:
    batch = tmp_path / "nightly.yaml"
    batch.write_text("inputs: {s: 'https://e.org/x'}\nbuilds:\n- specfile: s/x.yaml\n")
    with pytest.raises(BadInput, match="is built from s, which are not here"):
        plan_batch(batch, overrides={}, now=datetime.now(UTC))


def test_two_inputs_at_one_place(tmp_path: Path) -> None:
    batch = tmp_path / "nightly.yaml"
    two = "a: {git: 'https://e.org/x', path: p}\n  b: {git: 'https://e.org/y', path: p/}"
    batch.write_text(f"inputs:\n  {two}\nbuilds:\n- specfile: a/x.yaml\n")
    with pytest.raises(SpecProblems, match="another input is at 'p' too"):
        load_batch(batch)


def test_nothing_of_this_processs_environment_reaches_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: Origin, freeze: Freeze
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    elsewhere = Origin.make(tmp_path / "elsewhere")
    (home / ".gitconfig").write_text(f'[url "{elsewhere.url}"]\ninsteadOf = {origin.url}\n')
    commit = origin.commit({"a": "one"})
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_DIR", str(elsewhere.folder))
    assert freeze(f"stages: '{origin.url}'").inputs[0].commit == commit
