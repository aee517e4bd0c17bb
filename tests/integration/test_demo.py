"""The demonstration, as `make demo` runs it: what it makes, and that all of it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.farm import processes_with
from tests.waiting import eventually

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.usefixtures("can_isolate", "host_unchanged"),
]


def files_of(mirror: Path, version: int) -> set[tuple[str, str]]:
    """The digest and the name of each file that the generation names."""
    catalogs = (json.loads(file.read_bytes()) for file in mirror.glob("catalogs/*.json"))
    (stages,) = (one["stages"] for one in catalogs if one["version"] == version)
    files = [file for stage in stages for file in (stage["tarball"], *stage["sidecars"])]
    return {(file["sha256"], file["name"]) for file in files}


@pytest.mark.parametrize("namespace", [(), ("unshare", "--map-root-user")], ids=["root", "user"])
def test_the_nightly_batch_is_built_and_nothing_goes_on(
    tmp_path: Path, namespace: tuple[str, ...]
) -> None:
    words = [*namespace, sys.executable, "-m", "orchestrator", "demo", "--folder", str(tmp_path)]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "150"}
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert len(list(tmp_path.glob("store/**/*.tar.zst"))) == 5
    assert len(list(tmp_path.glob("store/**/*.tar.xz"))) == 2
    assert "blocked until stage3-minimal-" in done.stdout
    assert "Flower at http://127.0.0.1:" in done.stdout
    for queue in ("generic_64", "amd64-zen2"):
        assert f"stage3-x86-64bit-{queue}-mark+minimal.tar.zst" in done.stdout
    assert "generation 1 of stable, 6 stages: published" in done.stdout
    count = len(files_of(tmp_path / "mirror", 1))
    assert f"generation 1 of demo stable: {count} files verified" in done.stdout
    stage = "stage3 minimal-next x86-64bit.generic_64"
    assert f"held by the gate: {stage}, stage3-minimal-" in done.stdout
    assert "setuid /bin/tar: " in done.stdout
    assert "stable is at generation 1: nothing is new" in done.stdout
    assert "8 stagefarm gate accept " in done.stdout
    assert "accepted until " in done.stdout
    assert f"+  {stage}  " in done.stdout.partition("accepted until ")[2]
    assert "generation 2 of stable, 7 stages: published" in done.stdout
    assert len(list((tmp_path / "mirror/stages").glob("*/*.lineage.jsonl"))) == 7
    assert (tmp_path / "mirror/files/SHA256SUMS").exists()
    site = tmp_path / "mirror/report"
    assert done.stdout.rstrip().endswith(f"The site about the stages: {site.as_uri()}/index.html")
    assert "6 stages (6 fresh)" in done.stdout
    assert len(list((site / "build").iterdir())) == 7
    assert eventually(lambda: not processes_with(str(tmp_path)))
