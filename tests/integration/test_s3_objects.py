"""The client of S3 against two real servers, and against what happens between them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from tasks.errors import BadInput, HostUnfit
from tasks.store import s3_access, s3_reading
from tasks.store.objects import Conditions, Objects
from tasks.store.s3_access import client
from tests.fault_proxy import How, Proxy
from tests.s3_servers import BUCKET, S3Server, write_credentials

PART_BYTES = 100_000
CONTENT = os.urandom(2 * PART_BYTES + 1000)
TRIES = 3
PART = r"PUT .*partNumber="


@pytest.fixture
def objects(
    s3_server: S3Server, s3_proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Objects]:
    """A place of its own, reached by the proxy; nothing waits long before it tries again."""
    monkeypatch.setattr(s3_reading, "PAUSE_MAX_S", 0.01)
    monkeypatch.setattr(s3_reading, "PIECE_BYTES", PART_BYTES)
    place = f"s3://{BUCKET}/place/{os.urandom(4).hex()}"
    objects = replace(Objects.at(place, s3_server.access(s3_proxy.endpoint)), part_bytes=PART_BYTES)
    yield objects
    s3_proxy.faults.clear()
    assert list(objects.uploads()) == [], "parts are left"
    objects.delete([found.path for found in objects.list()])


def content_of(objects: Objects, path: str) -> bytes:
    return b"".join(objects.get(path))


def test_an_object_is_what_was_put(objects: Objects, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    told: list[int] = []
    objects.put("a/file", tmp_path / "file", sha256="abc", on_bytes=told.append)
    objects.put("a/stream", BytesIO(CONTENT))
    objects.put("a/bytes", b"few", content_type="text/plain")
    objects.put("b/empty", b"")
    assert sorted(told) == [1000, PART_BYTES, PART_BYTES]
    assert content_of(objects, "a/file") == content_of(objects, "a/stream") == CONTENT
    assert (content_of(objects, "a/bytes"), content_of(objects, "b/empty")) == (b"few", b"")
    assert objects.read("b/empty", 10) == b""
    found = objects.head("a/file")
    assert found
    assert (found.size_bytes, found.sha256) == (len(CONTENT), "abc")
    assert [(one.path, one.size_bytes) for one in objects.list("a/")] == [
        ("a/bytes", 3), ("a/file", len(CONTENT)), ("a/stream", len(CONTENT))
    ]  # fmt: skip


def test_a_range_is_read(objects: Objects) -> None:
    objects.put("file", CONTENT)
    assert b"".join(objects.get("file", 5, PART_BYTES + 9)) == CONTENT[5 : PART_BYTES + 9]
    assert b"".join(objects.get("file", len(CONTENT) - 3)) == CONTENT[-3:]
    with pytest.raises(HostUnfit, match="has more than 10 bytes"):
        objects.read("file", 10)


def test_what_is_not_there(objects: Objects) -> None:
    assert objects.head("none") is None
    assert list(objects.list("none")) == []
    objects.delete(["none"])
    with pytest.raises(FileNotFoundError):
        content_of(objects, "none")


def test_an_object_is_copied_with_what_is_noted_at_it(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects.put("from", CONTENT, sha256="abc")
    objects.copy("from", "a b/ü+&")
    found = objects.head("a b/ü+&")
    assert found
    assert (found.size_bytes, found.sha256) == (len(CONTENT), "abc")
    assert content_of(objects, "a b/ü+&") == CONTENT


def test_the_probe_tells_which_conditions_hold(
    objects: Objects, request: pytest.FixtureRequest
) -> None:
    """rclone accepts the headers and overwrites all the same."""
    holds = "moto" in request.node.name
    assert objects.probe() == Conditions(absent=holds, match=holds)
    assert list(objects.list()) == []
    if holds:
        first = objects.put_if_absent("pointer", b"1")
        assert first
        assert objects.put_if_absent("pointer", b"2") is None
        second = objects.put_if_match("pointer", b"2", first)
        assert second
        assert objects.put_if_match("pointer", b"3", first) is None
        assert objects.read("pointer", 9) == b"2"


@pytest.mark.parametrize("s3_server", ["moto"], indirect=True)  # the other keeps no conditions
def test_a_conditional_write_whose_answer_is_lost_was_ours(
    objects: Objects, s3_proxy: Proxy
) -> None:
    s3_proxy.will(How.LOSE_ANSWER, "PUT .*pointer")
    assert objects.put_if_absent("pointer", b"1")
    assert len(s3_proxy.asked("PUT .*pointer")) == 2


# Between client and server


@pytest.mark.parametrize(
    "fault",
    [
        {"how": How.SAY, "status": 500, "code": "InternalError", "times": 2},
        {"how": How.SAY, "status": 503, "code": "SlowDown", "times": 2},
        {"how": How.CUT_REQUEST},
        {"how": How.LOSE_ANSWER},
    ],
    ids=["500", "SlowDown", "cut", "answer lost"],
)
def test_each_part_is_tried_again(
    objects: Objects, s3_proxy: Proxy, fault: dict[str, object]
) -> None:
    s3_proxy.will(line=f"{PART}2", **fault)  # type: ignore[arg-type]
    objects.put("file", CONTENT)
    assert content_of(objects, "file") == CONTENT
    assert len(s3_proxy.asked(f"{PART}1")) == len(s3_proxy.asked(f"{PART}3")) == 1


def test_an_upload_goes_on_with_the_parts_that_are_there(objects: Objects, s3_proxy: Proxy) -> None:
    s3_proxy.will(How.CUT_REQUEST, f"{PART}3", times=TRIES)
    with pytest.raises(HostUnfit):
        objects.put("file", CONTENT, sha256="abc")
    assert objects.head("file") is None
    s3_proxy.lines.clear()
    objects.put("file", CONTENT, sha256="abc")
    assert len(s3_proxy.asked(f"{PART}3")) == 1
    assert len(s3_proxy.asked(PART)) == 1
    assert content_of(objects, "file") == CONTENT


def test_what_changes_on_its_way_up_is_noticed(objects: Objects, s3_proxy: Proxy) -> None:
    for path, line in (("small", "PUT .*small"), ("large", f"{PART}2")):
        s3_proxy.will(How.CHANGE_REQUEST, line)
        content = CONTENT if path == "large" else b"few"
        with pytest.raises(HostUnfit, match="was changed on its way"):
            objects.put(path, content, sha256="abc")
        objects.put(path, content, sha256="abc")
        assert content_of(objects, path) == content


def test_an_upload_whose_last_answer_is_lost_has_succeeded(
    objects: Objects, s3_proxy: Proxy
) -> None:
    s3_proxy.will(How.LOSE_ANSWER, "POST .*uploadId=")
    objects.put("file", CONTENT, sha256="abc")
    assert content_of(objects, "file") == CONTENT


def test_an_upload_that_its_caller_ends_leaves_nothing(
    objects: Objects, s3_server: S3Server
) -> None:
    class Ended(Exception):
        pass

    def end(_: int) -> None:
        raise Ended

    with pytest.raises(Ended):
        objects.put("file", CONTENT, sha256="abc", on_bytes=end)
    assert s3_server.uploads() == []
    assert objects.head("file") is None


def test_a_download_goes_on_where_it_was_cut(objects: Objects, s3_proxy: Proxy) -> None:
    objects.put("file", CONTENT)
    s3_proxy.will(How.CUT_ANSWER, "GET .*file", times=3)
    assert content_of(objects, "file") == CONTENT
    assert len(s3_proxy.asked("GET .*file")) == 4


def test_a_download_that_is_replaced_meanwhile_is_no_mixture(
    objects: Objects, s3_proxy: Proxy
) -> None:
    objects.put("file", CONTENT)
    s3_proxy.will(How.CUT_ANSWER, "GET .*file")
    pieces = objects.get("file")
    next(pieces)
    objects.put("file", b"x" * len(CONTENT))
    with pytest.raises(HostUnfit, match="replaced while it was read"):
        list(pieces)


def test_a_server_that_says_nothing_is_given_up(s3_server: S3Server, s3_proxy: Proxy) -> None:
    place = f"s3://{BUCKET}/silent"
    objects = Objects.at(place, s3_server.access(s3_proxy.endpoint, timeout_s=0.2))
    s3_proxy.will(How.HOLD, "GET", times=100)
    try:
        with pytest.raises(HostUnfit, match="Read timeout"):
            objects.check()
    finally:
        s3_proxy.go.set()


# What the server says


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (400, "ExpiredToken", "the credentials have expired"),
        (403, "RequestTimeTooSkewed", "clock differs too much"),
        (403, "AccessDenied", "these credentials may not"),
        (403, "SignatureDoesNotMatch", "the secret key is not"),
        (404, "NoSuchBucket", "there is no such bucket"),
        (400, "AuthorizationHeaderMalformed", "another region"),
        (418, "Teapot", "the server says Teapot: told to"),
    ],
)
def test_a_refusal_is_said_in_words(
    objects: Objects, s3_proxy: Proxy, status: int, code: str, words: str
) -> None:
    s3_proxy.say(status, code, "GET")
    with pytest.raises(HostUnfit, match=words) as said:
        objects.check()
    assert said.value.args[0].startswith(objects.url)
    objects.check()


def test_new_credentials_are_read_when_the_old_ones_are_refused(
    s3_server: S3Server, s3_proxy: Proxy, tmp_path: Path
) -> None:
    file = write_credentials(tmp_path / "credentials", "old")
    access = replace(s3_server.access(s3_proxy.endpoint), credentials_file=str(file))
    objects = Objects.at(f"s3://{BUCKET}", access)
    s3_proxy.say(400, "ExpiredToken", "GET")
    with pytest.raises(HostUnfit, match="have expired"):
        objects.check()
    write_credentials(file)
    objects.check()


def test_an_endpoint_that_is_not_there(s3_server: S3Server) -> None:
    access = s3_server.access("http://127.0.0.1:1")
    with pytest.raises(HostUnfit, match="Could not connect"):
        Objects.at(f"s3://{BUCKET}", access).check()


@pytest.mark.parametrize("s3_server", ["rclone"], indirect=True)  # moto takes any key
def test_an_unknown_key(s3_server: S3Server, tmp_path: Path) -> None:
    file = write_credentials(tmp_path / "credentials", "nobody", "nothing")
    access = replace(s3_server.access(), credentials_file=str(file))
    with pytest.raises(HostUnfit, match="does not know these credentials"):
        Objects.at(f"s3://{BUCKET}", access).check()


# Without a server


@pytest.mark.parametrize("url", ["s3://", "s3:///prefix", "file:///folder", "s3://bucket/a//b", ""])
def test_what_is_no_place_in_s3(url: str) -> None:
    with pytest.raises(BadInput, match="no place in S3"):
        Objects.at(url, s3_access.Access())


def test_an_endpoint_that_is_no_url(s3_server: S3Server) -> None:
    with pytest.raises(BadInput, match="s3_endpoint"):
        client(s3_server.access("nonsense"))


def test_a_file_of_credentials_that_cannot_be_used(s3_server: S3Server, tmp_path: Path) -> None:
    for text in (None, "", "[default]\naws_access_key_id = x", "no form"):
        file = tmp_path / "credentials"
        if text is not None:
            file.write_text(text)
        with pytest.raises(HostUnfit, match="s3_credentials_file"):
            client(replace(s3_server.access(), credentials_file=str(file)))
