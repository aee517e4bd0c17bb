"""What a client refuses that knows only a URL and a public key."""

from __future__ import annotations

import http.server
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import run
from orchestrator.release.catalog import Catalog, File, Stage, read_catalog
from orchestrator.release.pointer import Pointer, pointer_to, sign_pointer
from tasks.errors import Untrusted
from tasks.trust.envelope import PayloadType, signed, to_text
from tests.releases import DAY_S, Served, Shop
from tests.trusted import key

KEY = str(key("release").public)
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Call:
    monkeypatch.setattr("tasks.settings.DEFAULT_FILE", tmp_path / "none.toml")
    monkeypatch.setattr("orchestrator.release.known.Known.of", lambda _: _known(tmp_path))

    def call(*arguments: object) -> tuple[int, str, str]:
        code = run([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


def _known(folder: Path) -> Any:
    from orchestrator.release.known import Known

    return Known(folder / "client")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A mirror that is served, with two generations; the clock is right."""
    import time

    shop = Shop(tmp_path, now=time.time() - 3 * 3600)
    shop.put("a-1")
    shop.publish("a-1")
    shutil.copy(shop.mirror / "stable.json", tmp_path / "first.json")
    shop.put("a-2", at=shop.now)
    shop.publish("a-2")
    with Served(tmp_path / "mirror") as served:
        shop.url = served.url
        yield shop


def verify(call: Call, shop: Shop, *more: str, by: str = KEY) -> tuple[int, str, str]:
    keys = ["--key", by] if by else []
    return call("release", "verify", f"{shop.url}/stable.json", *keys, *more)


def catalog_of(shop: Shop) -> tuple[Path, dict[str, Any]]:
    newest = max((shop.mirror / "catalogs").iterdir(), key=lambda file: file.stat().st_mtime_ns)
    return newest, json.loads(newest.read_text())


def point_to(shop: Shop, content: bytes, **changes: Any) -> None:
    """Sign a pointer to a catalog of that content."""
    import hashlib
    from dataclasses import replace

    from tasks.model import decode
    from tasks.trust.envelope import from_text

    file = shop.mirror / "stable.json"
    pointer = decode(from_text(file.read_text()).payload, Pointer)
    digest = hashlib.sha256(content).hexdigest()
    (shop.mirror / "catalogs" / f"{digest}.json").write_bytes(content)
    given = {"catalog": digest, "catalog_bytes": len(content), **changes}
    file.write_bytes(sign_pointer(replace(pointer, **given), key("release")))


def test_a_mirror_is_verified_and_its_key_is_remembered(call: Call, shop: Shop) -> None:
    code, out, err = verify(call, shop)
    assert code == 0, err
    assert "generation 2 of nightly stable: 10 files verified" in out
    assert "stage3 minimal x86-64bit.generic_64" in out
    code, out, _ = verify(call, shop, "--quick", "--json", by="")
    assert (code, json.loads(out)["fetched"]) == (0, False)


def test_without_a_key_nothing_is_verified(call: Call, shop: Shop) -> None:
    code, _, err = verify(call, shop, by="")
    assert code == 2
    assert "the public key of the release is not known" in err


def test_another_key_is_refused(call: Call, shop: Shop) -> None:
    code, _, err = verify(call, shop, by=str(key("other").public))
    assert code == 7
    assert "is not signed with ed25519:" in err


def test_a_pointer_that_is_replayed_is_refused(call: Call, shop: Shop) -> None:
    assert verify(call, shop)[0] == 0
    shutil.copy(shop.folder / "first.json", shop.mirror / "stable.json")
    code, _, err = verify(call, shop, by="")
    assert code == 7
    assert "is of version 1, but version 2 was seen before" in err
    assert "try another mirror" in err


def test_two_generations_of_one_version_are_noticed(call: Call, shop: Shop) -> None:
    assert verify(call, shop)[0] == 0
    point_to(shop, catalog_of(shop)[0].read_bytes() + b" ")
    code, _, err = verify(call, shop)
    assert (code, "two different generations of version 2" in err) == (7, True)


def test_a_pointer_that_has_expired_is_refused(call: Call, shop: Shop) -> None:
    point_to(shop, catalog_of(shop)[0].read_bytes(), expires_at=shop.now - DAY_S)
    code, _, err = verify(call, shop)
    assert code == 7
    assert "has expired on" in err


def test_the_pointer_of_another_channel_is_refused(call: Call, shop: Shop) -> None:
    point_to(shop, catalog_of(shop)[0].read_bytes(), channel="testing")
    code, _, err = verify(call, shop)
    assert (code, "the pointer of another channel, testing" in err) == (7, True)


def test_a_signature_of_another_kind_is_no_pointer(call: Call, shop: Shop) -> None:
    envelope = signed(b"{}", PayloadType.BUILD, key("release"))
    (shop.mirror / "stable.json").write_text(to_text(envelope))
    code, _, err = verify(call, shop)
    assert (code, "is not signed with" in err) == (7, True)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"<html>moved</html>"])
def test_what_is_no_pointer_is_told(call: Call, shop: Shop, content: bytes) -> None:
    (shop.mirror / "stable.json").write_bytes(content)
    code, _, err = verify(call, shop)
    assert (code, "is not a signed pointer" in err) == (7, True), err


def test_a_catalog_that_was_swapped_is_refused(call: Call, shop: Shop) -> None:
    file, content = catalog_of(shop)
    content["stages"] = content["stages"][1:]
    text = json.dumps(content).ljust(file.stat().st_size)
    file.write_text(text)
    code, _, err = verify(call, shop)
    assert (code, "its sha256 differs" in err) == (7, True)


def test_a_catalog_of_another_generation_is_refused(call: Call, shop: Shop) -> None:
    first = min((shop.mirror / "catalogs").iterdir(), key=lambda file: file.stat().st_size)
    point_to(shop, first.read_bytes())
    code, _, err = verify(call, shop)
    assert (code, "of another generation than the pointer" in err) == (7, True)


@pytest.mark.parametrize("spoil", ["change", "cut", "grow", "remove"])
def test_a_stage_that_was_spoiled_is_refused(call: Call, shop: Shop, spoil: str) -> None:
    tarball = next(shop.mirror.glob("stages/*/*.zst"))
    whole = tarball.read_bytes()
    said = {"change": "is not what the catalog says", "cut": "is not what the catalog says"}
    if spoil == "change":
        tarball.write_bytes(whole[:-1] + b"?")
    elif spoil == "cut":
        tarball.write_bytes(whole[:-1])
    elif spoil == "grow":
        with tarball.open("r+b") as file:
            file.truncate(1 << 40)
    else:
        tarball.unlink()
    code, _, err = verify(call, shop)
    assert code in (3, 7)
    assert said.get(spoil, {"grow": "is larger than", "remove": "HTTP 404"}.get(spoil)) in err  # type: ignore[operator]
    code, _, err = verify(call, shop, "--quick")
    assert code == (0 if spoil == "change" else 7)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../../etc/passwd"},
        {"name": "/etc/passwd"},
        {"name": ".."},
        {"name": ""},
        {"name": "a\nb"},
        {"name": "a\0b"},
        {"name": "\x1b[2J"},
        {"name": "n" * 256},
        {"sha256": "../../../etc"},
        {"sha256": "AB" * 32},
        {"size_bytes": -1},
    ],
    ids=str,
)
def test_names_that_lead_elsewhere_are_refused(changes: dict[str, Any]) -> None:
    file = File(**{"name": "a.tar", "size_bytes": 1, "sha256": "ab" * 32, **changes})
    stage = Stage(product="p", build="b", attempt=1, built_at=0.0, tarball=file)
    catalog = Catalog(release="r", channel="c", version=1, created_at=0.0, stages=(stage,))
    with pytest.raises(Untrusted, match="names an impossible file"):
        read_catalog(catalog.content, catalog.sha256)


@pytest.mark.parametrize("changes", [{"catalog_bytes": 1 << 40}, {"catalog": "../" * 20}], ids=str)
def test_a_pointer_to_something_impossible_is_refused(
    call: Call, shop: Shop, changes: dict[str, Any]
) -> None:
    point_to(shop, b"{}", **changes)
    code, _, err = verify(call, shop)
    assert (code, "names a" in err) == (7, True), err


@contextmanager
def endless() -> Iterator[tuple[str, list[int]]]:
    """A server whose every answer has no end; yields its URL, and what it could send."""
    sent = [0]

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            try:
                while sent[0] < 1 << 30:
                    sent[0] += self.wfile.write(b" " * (1 << 16))
            except OSError:
                pass

    import threading

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", sent
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_answer_without_an_end_is_given_up_early(call: Call) -> None:
    with endless() as (url, sent):
        code, _, err = call("release", "verify", f"{url}/stable.json", "--key", KEY)
    assert (code, "stable.json is larger than 65,536 bytes" in err) == (7, True), err
    assert sent[0] < 1 << 26


def test_a_mirror_that_is_down_is_told(call: Call, shop: Shop) -> None:
    code, _, err = call("release", "verify", "http://127.0.0.1:1/stable.json", "--key", KEY)
    assert (code, "cannot fetch http://127.0.0.1:1/stable.json" in err) == (3, True)
    code, _, err = call("release", "verify", f"{shop.url}/other.json", "--key", KEY)
    assert (code, "HTTP 404" in err) == (3, True)
    code, _, err = call("release", "verify", f"{shop.url}/", "--key", KEY)
    assert (code, "is not the URL of a pointer" in err) == (2, True)


# One file, without a network


def test_a_file_of_a_copied_mirror_is_verified_offline(call: Call, shop: Shop) -> None:
    tarball = next(shop.mirror.glob("stages/*/*.zst"))
    code, out, err = call("release", "verify", tarball, "--key", KEY)
    assert code == 0, err
    assert "in generation 2 of nightly stable" in out
    assert "stage3-generic_64.tar.zst.job.json" in out


def test_a_file_is_verified_by_what_lies_beside_it(call: Call, shop: Shop) -> None:
    alone = shop.folder / "download"
    alone.mkdir()
    tarball = next(shop.mirror.glob("stages/*/*.zst"))
    shutil.copy(tarball, alone / "renamed.tar.zst")
    code, _, err = call("release", "verify", alone / "renamed.tar.zst", "--key", KEY)
    assert (code, "no pointer beside" in err) == (7, True)
    shutil.copy(shop.mirror / "stable.json", alone)
    code, _, err = call("release", "verify", alone / "renamed.tar.zst", "--key", KEY)
    assert (code, "the catalog of stable 2 is not beside the file" in err) == (2, True)
    shutil.copy(catalog_of(shop)[0], alone)
    code, out, _ = call("release", "verify", alone / "renamed.tar.zst", "--key", KEY, "--json")
    assert (code, json.loads(out)["version"]) == (0, 2)
    code, _, err = call(
        "release", "verify", alone / "renamed.tar.zst", "--key", str(key("other").public)
    )
    assert (code, "no pointer beside" in err) == (7, True)


def test_a_file_or_a_signature_that_was_changed_is_refused_offline(call: Call, shop: Shop) -> None:
    alone = shop.folder / "download"
    alone.mkdir()
    for file in (*shop.mirror.glob("stages/*/*"), shop.mirror / "stable.json", catalog_of(shop)[0]):
        shutil.copy(file, alone)
    stage = read_catalog(catalog_of(shop)[0].read_bytes(), catalog_of(shop)[0].stem).stages[0]
    for file in stage.files:
        shutil.copy(shop.mirror / file.path, alone)
    tarball = alone / "stage3-generic_64.tar.zst"
    assert call("release", "verify", tarball, "--key", KEY)[0] == 0
    (alone / "stage3-generic_64.tar.zst.job.json").write_text("{}")
    code, _, err = call("release", "verify", tarball, "--key", KEY)
    assert (code, "job.json is not what the signed catalog says" in err) == (7, True)
    tarball.write_bytes(b"?" + tarball.read_bytes()[1:])
    code, _, err = call("release", "verify", tarball, "--key", KEY)
    assert (code, "is in no generation that is signed: stable 2" in err) == (7, True)


def test_a_generation_that_is_shown_is_verified_too(call: Call, shop: Shop) -> None:
    where = f"{shop.url}/stable.json"
    code, out, _ = call("release", "list", where, "--key", KEY, "--json")
    assert (code, [one["version"] for one in json.loads(out)]) == (0, [2, 1])
    code, out, _ = call("release", "show", where, "--version", "1", "--json")
    assert [stage["build"] for stage in json.loads(out)["stages"]] == ["a-1"]
    code, out, _ = call("release", "list", where)
    assert (code, "current" in out) == (0, True)


def test_a_pointer_says_how_large_its_catalog_is() -> None:
    catalog = Catalog(release="r", channel="c", version=3, created_at=5.0)
    pointer = pointer_to(catalog, 10.0)
    assert (pointer.version, pointer.expires_at) == (3, 15.0)
    assert pointer.catalog_bytes == len(catalog.content)
