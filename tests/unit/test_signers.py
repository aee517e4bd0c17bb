"""Signing with the keys of a release, checked by gpgv, minisign and openssl."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from orchestrator.release.facts import Facts
from orchestrator.release.signers import Keys, Minisign, OpenPgp, Signers, signers_of
from tasks.errors import BadInput, HostUnfit
from tasks.trust.keys import new_key
from tests import openpgp
from tests.openpgp import NAME, Home

needs_gpg = pytest.mark.skipif(not shutil.which("gpg"), reason="needs gpg (gnupg)")
needs_minisign = pytest.mark.skipif(not shutil.which("minisign"), reason="needs minisign")
CONTENT = b"one\n- two\nFrom three\n"


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    with openpgp.home() as made:
        made.new_key()
        made.new_key("old@example.org", expires="seconds=5", now="20200101T000000!")
        made.new_key("locked@example.org", passphrase="secret")
        subprocess.run(["gpgconf", "--homedir", str(made.folder), "--kill", "all"], check=False)
        yield made


def facts(tmp_path: Path) -> Facts:
    return Facts(tmp_path / "facts")


def signers(tmp_path: Path, **keys: object) -> Signers:
    found = signers_of(Keys(**keys), facts(tmp_path))  # type: ignore[arg-type]
    assert found
    return found


def verified(home: Home, tmp_path: Path, *files: str) -> bytes:
    (tmp_path / "keys.gpg").write_bytes(home.public(armored=False))
    argv = ["gpgv", "--keyring", str(tmp_path / "keys.gpg"), *files]
    return subprocess.run(argv, cwd=tmp_path, capture_output=True, check=True).stdout


@needs_gpg
def test_gpgv_accepts_a_detached_signature(home: Home, tmp_path: Path) -> None:
    made = signers(tmp_path, openpgp=NAME, openpgp_home=home.folder).detached(CONTENT)
    assert list(made) == [".asc"]
    (tmp_path / "x").write_bytes(CONTENT)
    (tmp_path / "x.asc").write_bytes(made[".asc"])
    verified(home, tmp_path, "x.asc", "x")


@needs_gpg
def test_gpgv_accepts_a_clear_signed_text_as_it_was(home: Home, tmp_path: Path) -> None:
    made = signers(tmp_path, openpgp=NAME, openpgp_home=home.folder)
    (tmp_path / "x.txt").write_text(made.clear_signed(CONTENT.decode()))
    assert verified(home, tmp_path, "--output", "-", "x.txt") == CONTENT


@needs_gpg
def test_what_was_signed_keeps_its_signature(home: Home, tmp_path: Path) -> None:
    first = signers(tmp_path, openpgp=NAME, openpgp_home=home.folder)
    once, detached = first.clear_signed("text\n"), first.detached(b"text\n")
    again = signers(tmp_path, openpgp=NAME, openpgp_home=home.folder)
    shutil.rmtree(home.folder / "private-keys-v1.d.away", ignore_errors=True)
    (home.folder / "private-keys-v1.d").rename(home.folder / "private-keys-v1.d.away")
    try:
        assert (again.clear_signed("text\n"), again.detached(b"text\n")) == (once, detached)
    finally:
        (home.folder / "private-keys-v1.d.away").rename(home.folder / "private-keys-v1.d")


@needs_gpg
def test_another_key_signs_anew(home: Home, tmp_path: Path) -> None:
    home.new_key("second@example.org")
    texts = {
        signers(tmp_path, openpgp=name, openpgp_home=home.folder).clear_signed("text\n")
        for name in (NAME, "second@example.org")
    }
    assert len(texts) == 2


@needs_gpg
@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("nobody@example.org", "gpg has no secret key nobody@example.org in", "card"),
        ("old@example.org", "the OpenPGP key old@example.org has expired", "--edit-key"),
        ("--list-secret-keys", "gpg has no secret key --list-secret-keys in", ""),
    ],
)
def test_a_key_that_cannot_sign_is_told_at_once(
    home: Home, tmp_path: Path, name: str, message: str, hint: str
) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        signers_of(Keys(openpgp=name, openpgp_home=home.folder), facts(tmp_path))
    assert hint in caught.value.hint


@needs_gpg
def test_a_passphrase_that_nobody_can_be_asked_for_is_told(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GPG_TTY", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    made = signers(tmp_path, openpgp="locked@example.org", openpgp_home=home.folder)
    with pytest.raises(HostUnfit, match="cannot ask for the passphrase of locked") as caught:
        made.clear_signed("text\n")
    assert "GPG_TTY" in caught.value.hint


def test_gpg_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostUnfit, match="cannot start gpg") as caught:
        signers_of(Keys(openpgp=NAME), facts(tmp_path))
    assert caught.value.hint == "install gnupg"


@needs_gpg
def test_a_large_content_is_signed_while_it_is_read(home: Home, tmp_path: Path) -> None:
    content = b"0123456789abcdef" * 500_000
    (tmp_path / "x").write_bytes(content)
    signature = OpenPgp(NAME, home.folder).detached(io.BytesIO(content).read)
    (tmp_path / "x.asc").write_bytes(signature)
    verified(home, tmp_path, "x.asc", "x")


@pytest.fixture
def minisign(tmp_path: Path) -> Path:
    argv = ["minisign", "-G", "-W", "-p", "mini.pub", "-s", "mini.key"]
    subprocess.run(argv, cwd=tmp_path, capture_output=True, check=True)
    return tmp_path / "mini.key"


@needs_minisign
def test_minisign_accepts_its_signatures(minisign: Path, tmp_path: Path) -> None:
    made = signers(tmp_path, minisign=minisign).detached(CONTENT)
    assert list(made) == [".minisig"]
    (tmp_path / "x").write_bytes(CONTENT)
    (tmp_path / "x.minisig").write_bytes(made[".minisig"])
    argv = ["minisign", "-V", "-H", "-p", "mini.pub", "-m", "x"]
    said = subprocess.run(argv, cwd=tmp_path, capture_output=True, check=True).stdout
    assert b"Signature and comment signature verified" in said
    (tmp_path / "x").write_bytes(CONTENT + b"x")
    assert subprocess.run(argv, cwd=tmp_path, capture_output=True, check=False).returncode


@needs_minisign
def test_a_minisign_key_with_a_passphrase_is_refused(tmp_path: Path) -> None:
    argv = ["minisign", "-G", "-p", "mini.pub", "-s", "mini.key"]
    subprocess.run(argv, cwd=tmp_path, capture_output=True, check=True, input=b"abc\nabc\n")
    with pytest.raises(BadInput, match="protected by a passphrase"):
        Minisign.of(tmp_path / "mini.key")


@pytest.mark.parametrize(
    "content", [b"", b"x\ny\n", b"untrusted comment: x\n!!\n", b"\xff\n\xff\n"]
)
def test_what_is_no_minisign_key_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mini.key").write_bytes(content)
    with pytest.raises(BadInput, match="is not a secret key of minisign"):
        Minisign.of(tmp_path / "mini.key")
    with pytest.raises(BadInput, match="cannot read the minisign key"):
        Minisign.of(tmp_path / "missing")


def test_openssl_accepts_signatures_of_our_own_keys(tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    key = new_key(tmp_path / "release.key")
    made = signers(tmp_path, ed25519=key).detached(CONTENT)
    assert list(made) == [".ed25519"]
    pem = key.secret.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "pub.pem").write_bytes(pem)
    (tmp_path / "x").write_bytes(CONTENT)
    (tmp_path / "x.ed25519").write_bytes(made[".ed25519"])
    argv = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "pub.pem", "-rawin"]
    then = [*argv, "-in", "x", "-sigfile", "x.ed25519"]
    said = subprocess.run(then, cwd=tmp_path, capture_output=True, check=True).stdout
    assert said == b"Signature Verified Successfully\n"


def test_without_keys_nothing_is_signed(tmp_path: Path) -> None:
    assert signers_of(Keys(), facts(tmp_path)) is None
    made = signers(tmp_path, ed25519=new_key(tmp_path / "release.key"))
    assert made.clear_signed("text\n") == "text\n"
    assert made.facts() == {}
