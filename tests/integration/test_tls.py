"""A farm over TLS, with certificates made on the spot and verified on both sides."""

from __future__ import annotations

import re
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import pytest
import redis
from redis.backoff import NoBackoff

from orchestrator.cli import run
from tasks import settings
from tasks.ledger.tls import refusal_of
from tasks.model import BuildState
from tests.certificates import Authority, write_key
from tests.farm import Farm
from tests.redis_server import RedisServer, free_port, program
from tests.waiting import eventually

pytestmark = pytest.mark.redis


@dataclass(frozen=True)
class Files:
    """The settings with which one side of a connection is known to the other."""

    ca: Path
    cert: Path
    key: Path

    @property
    def settings(self) -> dict[str, str]:
        named = {"ca": self.ca, "cert": self.cert, "key": self.key}
        return {f"redis_{name}_file": str(file) for name, file in named.items()}


class TlsRedis(RedisServer):
    """A server that talks nothing but TLS, and only with those that its authority knows."""

    def __init__(self, folder: Path, server: Files, client: Files) -> None:
        super().__init__(folder)
        self.files = client
        self.options = (
            *("--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "yes"),
            *("--tls-ca-cert-file", str(server.ca)),
            *("--tls-cert-file", str(server.cert), "--tls-key-file", str(server.key)),
        )

    @property
    def url(self) -> str:
        return f"rediss://{self.address}:{self.port}/0"

    def url_of(self, user: str) -> str:
        return super().url_of(user).replace("redis://", "rediss://")

    def client(self) -> redis.Redis:
        return redis.Redis(
            host=self.address,
            port=self.port,
            ssl=True,
            ssl_ca_certs=str(self.files.ca),
            ssl_certfile=str(self.files.cert),
            ssl_keyfile=str(self.files.key),
            decode_responses=True,
        )


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "farm")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority of the same name, which signed nothing here."""
    return Authority(tmp_path_factory.mktemp("stranger"), "farm")


@pytest.fixture(scope="module")
def files(authority: Authority) -> Files:
    return Files(authority.file, *authority.issue("client"))


@pytest.fixture
def server(tmp_path: Path, authority: Authority, files: Files) -> Iterator[TlsRedis]:
    tried = subprocess.run(
        [program(), "--port", "0", "--tls-port", "0"], capture_output=True, text=True, check=False
    )
    if "Bad directive" in tried.stdout + tried.stderr:
        pytest.skip("this redis-server is built without TLS")
    own = Files(authority.file, *authority.issue("server"))
    server = TlsRedis(tmp_path / "redis", own, files)
    server.guard("test")
    server.start()
    yield server
    server.kill()


@pytest.mark.root
@pytest.mark.slow
def test_a_whole_farm_over_tls(
    tmp_path: Path, seed: Path, can_isolate: None, server: TlsRedis, files: Files
) -> None:
    farm = Farm(tmp_path, seed, server)
    farm.quick.update(files.settings)
    try:
        port = free_port()
        farm.start(["flower", "--port", str(port)])
        farm.start(["supervisor"])
        farm.worker("one")
        build = farm.build("echo it works")
        farm.submit(build)
        farm.wait(build, state=BuildState.SUCCEEDED)
        assert "it works" in farm.command("logs", build.id).stdout

        def flower_shows(page: str, what: str) -> bool:
            try:
                with urlopen(f"http://127.0.0.1:{port}/{page}") as answer:
                    return bool(re.search(what, answer.read().decode()))
            except OSError:
                return False

        assert eventually(lambda: flower_shows("workers?json=1", "stagefarm@one"), 60), farm.logs()
        assert eventually(lambda: flower_shows("worker/stagefarm@one", "stagefarm.pack"), 60)
        assert flower_shows("broker", "x86-64bit.generic_64")
    finally:
        farm.end()


Says = Callable[..., tuple[int, str]]


@pytest.fixture
def says(
    server: TlsRedis,
    files: Files,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Says]:
    """The exit code of a command with some settings changed, and what it says of errors."""

    def run_with(command: str = "status", **changes: object) -> tuple[int, str]:
        given = {"redis_url": server.url, "key_prefix": "test", **files.settings, **changes}
        for name, value in given.items():
            monkeypatch.setenv(f"STAGEFARM_{name.upper()}", str(value))
        settings.current.cache_clear()
        return run([command]), capsys.readouterr().err

    monkeypatch.setattr("tasks.ledger.connection.PAUSES", NoBackoff())
    assert run_with() == (0, "")
    yield run_with
    settings.current.cache_clear()


@pytest.mark.parametrize("command", ["status", "supervisor", "flower"])
def test_another_authority_is_refused(says: Says, stranger: Authority, command: str) -> None:
    code, said = says(command, redis_ca_file=stranger.file)
    error, hint = said.splitlines()
    assert code == 4
    assert re.fullmatch(r"error: no TLS with .* its certificate is refused: [\w .-]+", error)
    assert "redis_ca_file" in hint


def test_an_authority_that_nobody_names_is_refused(says: Says) -> None:
    code, said = says(redis_ca_file="")
    assert (code, "its certificate is refused: self-signed" in said) == (4, True)


def test_another_name_is_refused(says: Says, server: TlsRedis) -> None:
    code, said = says(redis_url=server.url.replace("127.0.0.1", "localhost"))
    assert (code, "not valid for 'localhost'" in said) == (4, True)
    assert "as its certificate does" in said


def test_a_client_of_another_authority_is_refused(says: Says, stranger: Authority) -> None:
    cert, key = stranger.issue("client")
    assert says(redis_cert_file=cert, redis_key_file=key)[0] == 4
    assert says(redis_cert_file="", redis_key_file="")[0] == 4


def test_a_server_that_wants_tls_is_not_spoken_to_without(says: Says, server: TlsRedis) -> None:
    without = {"redis_ca_file": "", "redis_cert_file": "", "redis_key_file": ""}
    code, said = says(redis_url=server.url.replace("rediss", "redis"), **without)
    assert (code, "rediss:// for TLS" in said) == (4, True)


def test_what_openssl_says_is_told_without_its_brackets() -> None:
    received = ssl.MemoryBIO()
    received.write(b"-ERR no TLS is spoken here\r\n")
    side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(
        received, ssl.MemoryBIO(), False, "farm"
    )
    with pytest.raises(ssl.SSLError) as caught:
        side.do_handshake()
    refusal = refusal_of(caught.value)
    assert refusal
    assert re.fullmatch("[a-z ]+", refusal.reason)


def test_files_that_cannot_be_used_are_named(
    says: Says, tmp_path: Path, authority: Authority
) -> None:
    (tmp_path / "text").write_text("no PEM")
    locked = write_key(authority.key, tmp_path / "locked.key", b"secret")
    for changes, why in (
        ({"redis_ca_file": tmp_path / "none"}, "redis_ca_file .*none: No such file or directory"),
        ({"redis_ca_file": tmp_path / "text"}, "redis_ca_file .*text\n"),
        ({"redis_cert_file": tmp_path / "none"}, "redis_cert_file .*none with .*: No such file"),
        ({"redis_key_file": locked}, ".* with redis_key_file .*locked.key\n hint: .*no passphrase"),
    ):
        code, said = says(**changes)
        assert code == 2
        assert re.search(f"error: cannot use {why}", said), said
