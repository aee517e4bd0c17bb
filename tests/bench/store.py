"""What storing in S3 costs beside the client library alone, on one server of loopback.

    python -m tests.bench.store [--bytes N] [--rounds N] [--quick]

Both send the same file in parts of the same size, as many at a time; ours also compares its
checksum. Each upload is a process of its own, so that its peak memory is its own too.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.s3_servers import BUCKET, S3Server, rclone_server

GOAL = 1.1
COMMON = """
import resource, sys, time
from pathlib import Path
file, endpoint, credentials, sha256 = sys.argv[1:]
from tasks.store.s3_access import THREADS, Access, client
access = Access(endpoint=endpoint, credentials_file=credentials)
s3 = client(access)
size = Path(file).stat().st_size if Path(file).exists() else 0
"""
OURS = """
from tasks.results import Artifact
from tasks.store.objects import Objects
from tasks.store.store import Packed
objects = Objects.at("s3://{bucket}/bench", access)
made = Artifact(name="ours", path=file, size_bytes=size, sha256=sha256)
start = time.perf_counter()
with open(file, "rb") as stream:
    objects.put("ours", Packed(made, stream), size_bytes=size, sha256=sha256)
"""
ALONE = """
import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from tasks.store.s3_access import _read_credentials
from tasks.store.s3_upload import PART_BYTES
given = _read_credentials(credentials)
s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1",
    aws_access_key_id=given.key_id, aws_secret_access_key=given.secret,
    config=Config(max_pool_connections=2 * THREADS))
config = TransferConfig(multipart_chunksize=PART_BYTES, max_concurrency=THREADS)
start = time.perf_counter()
s3.upload_file(file, "{bucket}", "bench/alone", Config=config)
"""
DOWN = """
from tasks.store.objects import Objects
objects = Objects.at("s3://{bucket}/bench", access)
start = time.perf_counter()
for piece in objects.get("ours"):
    pass
"""
TOLD = """
took = time.perf_counter() - start
print(took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


class Took(NamedTuple):
    seconds: float
    peak_mb: float


def run(code: str, file: Path, server: S3Server, sha256: str = "") -> Took:
    script = COMMON + code.replace("{bucket}", BUCKET) + TOLD
    words = [str(file), server.endpoint, str(server.credentials), sha256]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, check=True
    )
    return Took(*map(float, done.stdout.split()))


def make_file(folder: Path, size_bytes: int) -> tuple[Path, str]:
    file, digest = folder / f"stage-{size_bytes}.tar", hashlib.sha256()
    with file.open("wb") as sink:
        for _ in range(max(1, size_bytes >> 20)):
            piece = os.urandom(1 << 20)
            digest.update(piece)
            sink.write(piece)
    return file, digest.hexdigest()


def medians(took: list[Took]) -> Took:
    return Took(*map(statistics.median, zip(*took, strict=True)))


def measure(folder: Path, server: S3Server, size_bytes: int, rounds: int) -> None:
    file, sha256 = make_file(folder, size_bytes)
    ours: list[Took] = []
    alone: list[Took] = []
    for number in range(rounds):
        turns = [(ours, OURS), (alone, ALONE)]
        for took, code in turns if number % 2 else reversed(turns):
            took.append(run(code, file, server, sha256))
    down = medians([run(DOWN, file, server) for _ in range(rounds)])
    first, second = medians(ours), medians(alone)
    ratio = first.seconds / second.seconds
    said = "met" if ratio <= GOAL else "MISSED"
    what = f"upload {size_bytes / 1e6:,.0f} MB"
    print(
        f"{what:<35} {first.seconds:8.2f} s {second.seconds:8.2f} s   "
        f"ratio {ratio:5.2f}   goal {GOAL:.2f}  {said}   "
        f"peak {first.peak_mb:.0f} MB, alone {second.peak_mb:.0f} MB",
        flush=True,
    )
    print(f"{'download':<35} {down.seconds:8.2f} s   peak {down.peak_mb:.0f} MB", flush=True)
    file.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"), help="where to work")
    parser.add_argument("--bytes", type=int, default=1 << 30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a small file, once")
    given = parser.parse_args()
    if given.quick:
        given.bytes, given.rounds = 64 << 20, 1
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="stagefarm-bench-") as name:
        folder = Path(name)
        with rclone_server(folder) as server:
            print(f"{'':<35} {'stagefarm':>10} {'boto3':>10}")
            for size_bytes in (given.bytes >> 3, given.bytes):
                measure(folder, server, size_bytes, given.rounds)


if __name__ == "__main__":
    main()
