"""OpenPGP signatures of tarballs, checksum files and pointers, made by gpg and checked by gpgv."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tasks.errors import HostUnfit, SourceFailed
from tasks.model import Source, SourceType
from tasks.reporting import Silent
from tasks.results import SeedOrigin
from tasks.rootfs.storage import Storage
from tasks.settings import Settings
from tasks.sources import verify
from tasks.sources.destination import Destination
from tasks.sources.dispatch import fetch
from tests.webserver import Site, serving

pytestmark = pytest.mark.skipif(
    not (shutil.which("gpg") and shutil.which("gpgv")), reason="needs gpg and gpgv"
)
DATA = b"a tarball, as far as signatures go" * 1000


@dataclass
class Signer:
    """A key of its own; `keyring` holds its public half."""

    home: Path
    keyring: Path

    def gpg(self, *arguments: str, data: bytes = b"") -> bytes:
        argv = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
        environ = os.environ | {"GNUPGHOME": str(self.home)}
        done = subprocess.run(
            [*argv, *arguments], input=data, capture_output=True, check=True, env=environ
        )
        return done.stdout

    def sign(self, data: bytes) -> bytes:
        return self.gpg("--detach-sign", "--armor", data=data)

    def clear_sign(self, data: bytes) -> bytes:
        return self.gpg("--clear-sign", data=data)


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signer]:
    with TemporaryDirectory() as home:  # its socket's path must be short
        made = Signer(Path(home), tmp_path_factory.mktemp("keys") / "release.gpg")
        made.gpg("--quick-generate-key", "releases@example.org", "ed25519", "sign")
        made.keyring.write_bytes(made.gpg("--export"))
        yield made
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as made:
        yield made


def bring(tmp_path: Path, signer: Signer, uri: str, **more: str) -> bytes:
    return bring_to(place_in(tmp_path, signer), tmp_path, uri, **more)


def place_in(tmp_path: Path, signer: Signer) -> Destination:
    storage = Storage.of(Settings(state_dir=str(tmp_path / "state")))
    return Destination(folder=signer.keyring.parent, storage=storage, report=Silent())


def bring_to(place: Destination, tmp_path: Path, uri: str, **more: str) -> bytes:
    target = str(tmp_path / "a.tar")
    more.setdefault("keyring", "release.gpg")
    source = Source(type=SourceType.HTTP, uri=uri, target=target, **more)
    return fetch(source, place).read_bytes()


def test_who_signed_a_seed_is_known_afterwards(tmp_path: Path, site: Site, signer: Signer) -> None:
    site.put("2026/a.tar", DATA)
    site.put("2026/a.tar.asc", signer.sign(DATA))
    site.put("2026/a.tar.DIGESTS", digests())
    pointer = site.put("latest.txt", signer.clear_sign(b"2026/a.tar 34000\n"))
    listing = signer.gpg("--list-keys", "--with-colons").decode().splitlines()
    by = next(line.split(":")[9] for line in listing if line.startswith("fpr"))
    place = place_in(tmp_path, signer)
    how = {"checksums": "a.tar.DIGESTS", "signature": "a.tar.asc"}
    bring_to(place, tmp_path, pointer.replace("//", "//me:secret@"), **how)
    assert place.learned.origin == SeedOrigin(
        uri=f"{site.address}/2026/a.tar",
        verified=(
            f"pointer openpgp {by}",
            f"checksums {site.address}/2026/a.tar.DIGESTS",
            f"openpgp {by}",
        ),
    )


def test_a_good_signature_beside_the_tarball(tmp_path: Path, site: Site, signer: Signer) -> None:
    site.put("x/a.tar.asc", signer.sign(DATA))
    assert bring(tmp_path, signer, site.put("x/a.tar", DATA)) == DATA


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_keys_can_be_text(tmp_path: Path, site: Site, signer: Signer, end: bytes) -> None:
    """Also several of them, with what people write around them."""
    text = b"Our keys:\n" + signer.gpg("--export", "--armor") * 2
    (tmp_path / "keys.asc").write_bytes(text.replace(b"\n", end))
    site.put("a.tar.asc", signer.sign(DATA))
    made = Signer(signer.home, tmp_path / "keys.asc")
    assert bring(tmp_path, made, site.put("a.tar", DATA), keyring="keys.asc") == DATA
    site.put("a.tar.asc", signer.sign(b"other"))
    with pytest.raises(SourceFailed, match="BAD signature"):
        bring(tmp_path / "again", made, f"{site.address}/a.tar", keyring="keys.asc")


def test_a_signature_of_something_else(tmp_path: Path, site: Site, signer: Signer) -> None:
    site.put("a.tar.sig", signer.sign(b"other"))
    with pytest.raises(SourceFailed, match="its signature is not good: .*BAD signature"):
        bring(tmp_path, signer, site.put("a.tar", DATA), signature="a.tar.sig")
    assert not (tmp_path / "a.tar").exists()


def test_a_missing_signature(tmp_path: Path, site: Site, signer: Signer) -> None:
    with pytest.raises(SourceFailed, match="a.tar.asc: the server says 404"):
        bring(tmp_path, signer, site.put("a.tar", DATA))


def digests() -> bytes:
    return f"# SHA512 HASH\n{hashlib.sha512(DATA).hexdigest()}  a.tar\n".encode()


def test_signed_checksums(tmp_path: Path, site: Site, signer: Signer) -> None:
    site.put("a.tar.DIGESTS", signer.clear_sign(digests()))
    assert bring(tmp_path, signer, site.put("a.tar", DATA), checksums="a.tar.DIGESTS") == DATA


@pytest.mark.parametrize("forge", ["unsigned", "changed", "around"])
def test_forged_checksums(tmp_path: Path, site: Site, signer: Signer, forge: str) -> None:
    signed = signer.clear_sign(digests().replace(b"a.tar", b"b.tar"))
    forged = {
        "unsigned": digests(),
        "changed": signed.replace(b"b.tar", b"a.tar"),
        "around": digests() + signed,
    }
    site.put("a.tar.DIGESTS", forged[forge])
    with pytest.raises(SourceFailed, match="not signed|not good|has no sha256"):
        bring(tmp_path, signer, site.put("a.tar", DATA), checksums="a.tar.DIGESTS")


def test_a_signed_pointer(tmp_path: Path, site: Site, signer: Signer) -> None:
    site.put("2026/a.tar", DATA)
    site.put("2026/a.tar.asc", signer.sign(DATA))
    pointer = site.put("latest.txt", signer.clear_sign(b"# latest\n2026/a.tar 34000\n"))
    assert bring(tmp_path, signer, pointer) == DATA
    site.put("latest.txt", signer.clear_sign(b"2026/a.tar 1\n").replace(b"2026/", b"2025/"))
    with pytest.raises(SourceFailed, match="not good"):
        bring(tmp_path / "again", signer, pointer)


def test_a_host_without_gpgv_is_unfit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keys").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostUnfit, match="cannot check a signature") as caught:
        verify.signature(tmp_path / "keys", tmp_path / "a", tmp_path / "a.asc", name="a")
    assert caught.value.hint == "install gpgv"
