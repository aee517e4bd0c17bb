"""Each view read by programs that know nothing of stagefarm: Gentoo's handbook with wget and gpg,
sha256sum, gpgv, minisign, systemd-pull, sstream-query, a client written after Incus's, skopeo,
umoci, a registry; and by stagefarm's own http source."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.formats.releasefile import ViewKind
from orchestrator.release.catalog import Catalog, Stage
from orchestrator.release.registries import Registries
from orchestrator.release.registry import push, tagged, tags_of
from orchestrator.release.signers import Keys, signers_of
from orchestrator.release.views.chosen import learn, views_of
from orchestrator.release.views.view import ViewFile
from tasks.errors import StagefarmError
from tests import openpgp, trees
from tests.mirrors import BUILT_AT, DAY_S, Mirror, catalog_of, served
from tests.redis_server import free_port
from tests.registry_server import docker_registry, without_tls

HANDBOOK = Path(__file__).with_name("handbook.sh")
PULL = Path("/lib/systemd/systemd-pull")
SSTREAM = Path(sys.executable).with_name("sstream-query")

pytestmark = pytest.mark.skipif(not shutil.which("gpg"), reason="needs gpg (gnupg)")


def needs(*programs: str, package: str = "") -> pytest.MarkDecorator:
    missing = [program for program in programs if not shutil.which(program)]
    return pytest.mark.skipif(bool(missing), reason=f"needs {package or ', '.join(programs)}")


@dataclass
class Published:
    """A mirror with all views, which is served at `url`."""

    mirror: Mirror
    url: str
    catalog: Catalog
    stages: dict[str, Stage]
    folder: Path
    home: openpgp.Home

    @property
    def keyring(self) -> Path:
        return self.folder / "keys.gpg"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    folder = tmp_path_factory.mktemp("published")
    rootfs = folder / "rootfs"
    trees.plain(rootfs)
    mirror = Mirror(folder)
    stages = {
        "xz": mirror.add(rootfs, ".tar.xz"),
        "old": mirror.add(rootfs, ".tar.xz", built_at=BUILT_AT - DAY_S),
        "gz": mirror.add(rootfs, ".tar.gz", variant="openrc", arch="x86-64bit"),
        "zst": mirror.add(rootfs, ".tar.zst", variant="musl"),
    }
    (rootfs / "arm").touch()
    stages["arm"] = mirror.add(rootfs, ".tar.zst", variant="musl", arch="arm64")
    catalog = catalog_of(*stages.values())
    with openpgp.home() as home, served(mirror.root) as url:
        home.new_key()
        keys = Keys(openpgp=openpgp.NAME, openpgp_home=home.folder, minisign=minisign(folder))
        signer = signers_of(keys, mirror.facts)
        views = views_of(ViewKind, mirror.facts)
        learn(views, catalog, signer, mirror.facts, mirror.read)
        once = sum(stage.tarball.size_bytes for stage in stages.values())
        assert mirror.read_bytes == once, "each tarball is read once for all views"
        for view in views:
            mirror.show(view, catalog, signer)
        (folder / "keys.gpg").write_bytes(home.public(armored=False))
        (folder / "keys.asc").write_bytes(home.public())
        yield Published(mirror, url, catalog, stages, folder, home)


def minisign(folder: Path) -> Path | None:
    if not shutil.which("minisign"):
        return None
    argv = ["minisign", "-G", "-W", "-p", "mini.pub", "-s", "mini.key"]
    subprocess.run(argv, cwd=folder, capture_output=True, check=True)
    return folder / "mini.key"


def run(*argv: object, cwd: Path | None = None, check: bool = True) -> tuple[int, str]:
    done = subprocess.run(
        list(map(str, argv)), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    said = done.stdout.decode(errors="replace")
    assert not check or done.returncode == 0, said
    return done.returncode, said


def fetched(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        return bytes(answer.read())


# Gentoo


def handbook(published: Published, folder: Path, key: Path | None = None) -> tuple[int, str]:
    key = key or published.folder / "keys.asc"
    words = ("amd64", "stage3-amd64-systemd", key, folder / "handbook")
    return run("sh", HANDBOOK, published.url, *words, check=False)


@needs("wget", "openssl")
def test_gentoos_handbook_works_unchanged(published: Published, tmp_path: Path) -> None:
    code, said = handbook(published, tmp_path)
    assert code == 0, said
    unpacked = tmp_path / "handbook" / "root"
    assert (unpacked / "file").read_text() == "content\n"
    assert "folder/deep" in (tmp_path / "handbook" / "contents").read_text()
    assert said.count("Good signature") == 7


@needs("wget", "openssl")
@pytest.mark.parametrize("changed", ["latest-stage3-amd64-systemd.txt", ".DIGESTS", ".asc", ""])
def test_gentoos_handbook_notices_what_was_changed(
    published: Published, tmp_path: Path, changed: str
) -> None:
    autobuilds = published.mirror.root / "releases/amd64/autobuilds"
    stage = "20261122T040405Z/stage3-amd64-systemd-20261122T040405Z.tar.xz"
    path = autobuilds / (changed if changed.endswith(".txt") else stage + changed)
    with other_content(path):
        code, said = handbook(published, tmp_path)
    assert code != 0, said


@contextmanager
def other_content(path: Path) -> Iterator[None]:
    """Show other bytes at `path` for a while; what it links to stays."""
    kept = path.with_name(f"{path.name}.kept")
    content = bytearray(path.read_bytes())
    path.rename(kept)
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    try:
        yield
    finally:
        kept.replace(path)


@needs("wget", "openssl")
def test_gentoos_handbook_notices_another_key(published: Published, tmp_path: Path) -> None:
    with openpgp.home() as other:
        other.new_key()
        (tmp_path / "other.asc").write_bytes(other.public())
    code, said = handbook(published, tmp_path, tmp_path / "other.asc")
    assert code != 0
    assert "No public key" in said


@pytest.mark.root
@pytest.mark.usefixtures("can_isolate", "host_unchanged")
def test_our_own_http_source_builds_from_the_pointer(published: Published, tmp_path: Path) -> None:
    pointer = f"{published.url}/releases/amd64/autobuilds/latest-stage3-amd64-systemd.txt"
    (tmp_path / "keys.asc").write_bytes((published.folder / "keys.asc").read_bytes())
    (tmp_path / "job.yaml").write_text(
        f"""
version: "1.0"
jobs:
- name: stage4
  workspacedir: work
  options: {{arch: x86-64bit, subarch: generic_64}}
  source: {{type: http, uri: "{pointer}", keyring: keys.asc, target: seeds/seed.tar.xz}}
  output: {{type: file, name: stage4.tar, dir: out}}
"""
    )
    argv = [sys.executable, "-m", "orchestrator", "run", "--specfile", "job.yaml"]
    environment = os.environ | {"STAGEFARM_STATE_DIR": str(tmp_path / "state")}
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [*argv, "--job", "stage4"],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with tarfile.open(tmp_path / "out" / "stage4.tar") as tar:
        assert "./file" in tar.getnames()
    assert "points at 20261122T040405Z/stage3-amd64-systemd" in done.stdout + done.stderr


# SHA256SUMS


def test_sha256sum_and_gpgv_accept_the_list(published: Published) -> None:
    folder = published.mirror.root / "files"
    _, said = run("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=folder)
    assert said.count(": OK\n") == len(published.stages)
    run("gpgv", "--keyring", published.keyring, "SHA256SUMS.gpg", "SHA256SUMS", cwd=folder)


@needs("minisign")
def test_minisign_accepts_the_list(published: Published) -> None:
    folder = published.mirror.root / "files"
    public = published.folder / "mini.pub"
    _, said = run("minisign", "-V", "-p", public, "-m", "SHA256SUMS", cwd=folder)
    assert "Signature and comment signature verified" in said


needs_pull = pytest.mark.skipif(
    os.geteuid() != 0 or not PULL.exists(),
    reason="needs root and systemd-pull, with which sysupdate downloads (systemd-container)",
)


def pulled_list(published: Published, keyring: Path, target: Path) -> tuple[int, str]:
    """What systemd-sysupdate does to get the list, with `keyring` as the machine's."""
    where = f"{published.url}/files/SHA256SUMS"
    pull = f"{PULL} raw --direct --verify=signature --sync=no {where} {target}"
    bind = f"mount --bind {keyring} /usr/lib/systemd/import-pubring.gpg"
    return run("unshare", "--mount", "sh", "-c", f"{bind} && exec {pull}", check=False)


def instances(manifest: bytes, pattern: str) -> dict[str, tuple[str, str]]:
    """The name and digest of each version that a MatchPattern finds, by the rules of sysupdate.d(5)
    and systemd: src/sysupdate/sysupdate-resource.c. One bad line makes the whole list unusable."""
    before, after = map(re.escape, pattern.split("@v"))
    found: dict[str, tuple[str, str]] = {}
    assert manifest.endswith(b"\n")
    for line in manifest.decode("ascii").splitlines():
        entry = re.fullmatch(r"([0-9a-f]{64}) [ *]([^/\x00-\x1f\x7f]{1,255})", line)
        assert entry, line
        assert entry[2] not in (".", "..")
        if named := re.fullmatch(f"{before}([A-Za-z0-9.,_+-]+){after}", entry[2]):
            found[named[1]] = (entry[2], entry[1])
    return found


@needs_pull
def test_sysupdate_finds_the_newest_version_and_unpacks_it(
    published: Published, tmp_path: Path
) -> None:
    code, said = pulled_list(published, published.keyring, tmp_path / "manifest")
    assert code == 0, said
    assert "Signature verification succeeded" in said
    manifest = (tmp_path / "manifest").read_bytes()
    found = instances(manifest, "stage3-amd64-systemd_@v.tar.xz")
    assert sorted(found) == ["20261121T040405Z", "20261122T040405Z"]
    assert list(instances(manifest, "stage3-amd64_@v.tar.xz")) == []
    name, digest = found[max(found)]
    target = tmp_path / "tree"
    where = f"{published.url}/files/{name}"
    run(PULL, "tar", "--direct", f"--verify={digest}", "--sync=no", where, target)
    assert (target / "file").read_text() == "content\n"


@needs_pull
def test_sysupdate_refuses_another_list_and_another_key(
    published: Published, tmp_path: Path
) -> None:
    with other_content(published.mirror.root / "files/SHA256SUMS"):
        code, said = pulled_list(published, published.keyring, tmp_path / "manifest")
    assert (code, "Signature verification failed" in said) == (1, True)
    with openpgp.home() as other:
        other.new_key()
        (tmp_path / "other.gpg").write_bytes(other.public(armored=False))
        code, said = pulled_list(published, tmp_path / "other.gpg", tmp_path / "manifest")
    assert (code, "Signature verification failed" in said) == (1, True)


# simplestreams


def incus_images(url: str) -> dict[str, dict[str, Any]]:
    """The images by fingerprint that Incus finds, by its rules (lxc/incus: shared/simplestreams,
    `parseStream` and `ToAPI`)."""
    images: dict[str, dict[str, Any]] = {}
    stream = json.loads(fetched(f"{url}/streams/v1/index.json"))
    for entry in stream["index"].values():
        if entry["datatype"] != "image-downloads" or not entry["products"]:
            continue
        for product in json.loads(fetched(f"{url}/{entry['path']}"))["products"].values():
            for name, version in product["versions"].items():
                assert re.match(r"20[0-9]{6}", name), "Incus reads the date from the name"
                metas = [i for i in version["items"].values() if i["ftype"] == "incus.tar.xz"]
                roots = [i for i in version["items"].values() if i["ftype"] == "root.tar.xz"]
                for meta, root in zip(metas, roots, strict=True):
                    known = {"product": product, "serial": name, "meta": meta, "root": root}
                    images[meta["combined_rootxz_sha256"]] = known
    return images


def test_a_client_that_reads_as_incus_does_gets_whole_images(published: Published) -> None:
    images = incus_images(published.url)
    assert sorted(image["serial"] for image in images.values()) == [
        "20261121T040405Z",
        "20261122T040405Z",
    ]
    for fingerprint, image in images.items():
        files = [fetched(f"{published.url}/{image[part]['path']}") for part in ("meta", "root")]
        assert hashlib.sha256(b"".join(files)).hexdigest() == fingerprint
        for part, content in zip(("meta", "root"), files, strict=True):
            assert hashlib.sha256(content).hexdigest() == image[part]["sha256"]
            assert len(content) == image[part]["size"]
        with tarfile.open(fileobj=io.BytesIO(files[0])) as tar:
            opened = tar.extractfile("metadata.yaml")
            assert opened
            about = json.loads(opened.read())
        assert about["architecture"] == "x86_64"
        assert about["creation_date"] > 0
        with tarfile.open(fileobj=io.BytesIO(files[1])) as tar:
            assert "./file" in tar.getnames()


def sstream(published: Published, keyring: Path) -> tuple[int, str]:
    index = f"{published.url}/streams/v1/index.sjson"
    words = ("--keyring", keyring, "--json", index, "ftype=root.tar.xz")
    return run(sys.executable, "-W", "ignore", SSTREAM, *words, check=False)


@pytest.mark.skipif(not SSTREAM.exists(), reason="needs python-simplestreams")
def test_canonicals_client_verifies_and_reads_the_stream(published: Published) -> None:
    code, said = sstream(published, published.keyring)
    assert code == 0, said
    items = {item["version_name"]: item for item in json.loads(said)}
    item = items["20261122T040405Z"]
    assert item["product_name"] == "exampleos:stage3:systemd:amd64"
    assert item["sha256"] == published.stages["xz"].tarball.sha256
    assert hashlib.sha256(fetched(item["item_url"])).hexdigest() == item["sha256"]
    with other_content(published.mirror.root / "streams/v1/images.sjson"):
        code, said = sstream(published, published.keyring)
    assert code != 0, said


# OCI


def layout(published: Published) -> Path:
    return published.mirror.root / "oci"


def inspected(image: str, *options: str) -> Any:
    return json.loads(run("skopeo", "inspect", *options, image)[1])


@needs("skopeo")
def test_skopeo_reads_what_is_published(published: Published) -> None:
    found = inspected(f"oci:{layout(published)}:stage3-amd64-openrc")
    assert found["Layers"] == [f"sha256:{published.stages['gz'].tarball.sha256}"]
    assert (found["Architecture"], found["Os"]) == ("amd64", "linux")
    assert found["Created"] == "2026-11-22T04:04:05Z"
    image = f"oci:{layout(published)}:stage3-musl"
    for arch, name in (("amd64", "zst"), ("arm64", "arm")):
        found = json.loads(run("skopeo", "--override-arch", arch, "inspect", image)[1])
        assert found["Layers"] == [f"sha256:{published.stages[name].tarball.sha256}"]


@needs("umoci")
def test_umoci_unpacks_the_stage(published: Published, tmp_path: Path) -> None:
    unpack(f"{layout(published)}:stage3-amd64-openrc", tmp_path / "bundle")


def unpack(image: str, bundle: Path) -> None:
    """umoci compares the layer with its digest, and what is in it with the diff_id."""
    rootless = [] if os.geteuid() == 0 else ["--rootless"]
    run("umoci", "unpack", *rootless, "--image", image, bundle)
    assert (bundle / "rootfs" / "file").read_text() == "content\n"
    config = json.loads((bundle / "config.json").read_text())
    assert config["process"]["args"] == ["/bin/sh"]


@needs("skopeo", "umoci")
def test_a_zstd_layer_is_one_after_skopeo_has_recompressed_it(
    published: Published, tmp_path: Path
) -> None:
    source = f"oci:{layout(published)}:stage3-amd64-musl"
    how = ("--dest-compress", "--dest-compress-format", "gzip")
    run("skopeo", "copy", *how, source, f"oci:{tmp_path}/copy:x")
    unpack(f"{tmp_path}/copy:x", tmp_path / "bundle")


@needs("umoci")
def test_umoci_notices_a_wrong_diff_id(published: Published, tmp_path: Path) -> None:
    """So the tests above show that ours is right."""
    mirror, stage = Mirror(tmp_path), published.stages["gz"]
    shutil.copytree(published.mirror.root / "stages", mirror.root / "stages")
    (view,) = views_of([ViewKind.OCI], mirror.facts)
    (fact,) = view.facts(catalog_of(stage), stage, None)
    lying = replace(fact, learn=lambda read: b"0" * 64 if read(1 << 30) else b"")
    mirror.facts.of(stage.tarball, lying, mirror.read)
    mirror.show(view, catalog_of(stage))
    words = ("--rootless", "--image", f"{mirror.root}/oci:stage3-amd64-openrc", tmp_path / "b")
    code, said = run("umoci", "unpack", *words, check=False)
    assert code != 0
    assert f"expected sha256:{'0' * 64}" in said


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    with docker_registry(tmp_path, free_port()) as where:
        yield where


@needs("skopeo", "docker-registry")
def test_a_registry_gets_the_same_digests(published: Published, registry: str) -> None:
    tags = push(layout(published), f"{registry}/exampleos/stages", tls=False)
    assert tags == tags_of(layout(published))
    image = f"docker://{registry}/exampleos/stages:stage3-amd64-musl"
    found = inspected(image, "--tls-verify=false")
    assert found["Layers"] == [f"sha256:{published.stages['zst'].tarball.sha256}"]
    assert sorted(found["RepoTags"]) == sorted(tags)
    raw = run("skopeo", "inspect", "--raw", "--tls-verify=false", image)[1]
    blobs = layout(published) / "blobs/sha256"
    assert (blobs / hashlib.sha256(raw.encode()).hexdigest()).read_text() == raw
    index = inspected(image.replace("-amd64", ""), "--raw", "--tls-verify=false")
    assert [one["platform"]["architecture"] for one in index["manifests"]] == ["amd64", "arm64"]
    assert push(layout(published), f"{registry}/exampleos/stages", tags, tls=False) == tags


@needs("skopeo")
def test_a_registry_that_does_not_answer_is_one_clear_error(published: Published) -> None:
    where = f"127.0.0.1:{free_port()}/x"
    with pytest.raises(StagefarmError, match=r"docker://127\.0\.0\.1.*refused"):
        push(layout(published), where, ["stage3-musl"], tls=False)


@dataclass(frozen=True)
class Elsewhere:
    """A mirror on another machine: all that is here is its public URL."""

    url: str
    label: str = "elsewhere"


@needs("skopeo", "docker-registry")
def test_a_mirror_elsewhere_is_pushed_through_its_public_url(
    published: Published, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(without_tls(tmp_path, registry)))
    url, failed = f"docker://{registry}/exampleos/stages", dict[str, StagefarmError]()
    registries = Registries((url,), tmp_path / "notes")
    mirrors: Any = [Elsewhere(published.url)]
    (view,) = views_of([ViewKind.OCI], published.mirror.facts)

    def files() -> Iterator[ViewFile]:
        return view.files(published.catalog, published.mirror.read, None)

    first = next(iter(tagged((layout(published) / "index.json").read_bytes(), "").values()))
    manifest = layout(published) / "blobs" / first.digest.replace(":", "/")
    with other_content(manifest):
        assert registries.bring_up(mirrors, files, failed) == {}
    assert "is not what was published" in str(failed.pop(url))
    assert registries.bring_up(mirrors, files, failed) == {url: list(tags_of(layout(published)))}
    found = inspected(f"{url}:stage3-amd64-openrc", "--tls-verify=false")
    assert found["Layers"] == [f"sha256:{published.stages['gz'].tarball.sha256}"]
    assert registries.bring_up(mirrors, files, failed) == {}
    assert list(registries.bring_up(mirrors, files, failed, again=True)) == [url]
    assert failed == {}
