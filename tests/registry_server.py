"""A container registry of its own on loopback, without TLS (Debian's docker-registry)."""

from __future__ import annotations

import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import eventually

SETTINGS = """
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@contextmanager
def docker_registry(folder: Path, port: int) -> Iterator[str]:
    """Yields its host and port; what was pushed stays in `folder`."""
    settings = folder / "registry.yml"
    settings.write_text(SETTINGS.format(folder=folder / "registry", port=port))
    with subprocess.Popen(["docker-registry", "serve", str(settings)]) as server:
        try:
            assert eventually(lambda: _answers(f"http://127.0.0.1:{port}/v2/"))
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()


def without_tls(folder: Path, registry: str) -> Path:
    """A configuration of skopeo that lets it speak to `registry` without TLS; its path goes into
    the variable CONTAINERS_REGISTRIES_CONF."""
    file = folder / "registries.conf"
    file.write_text(f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n')
    return file


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url) as answer:
            return bool(answer.read() == b"{}")
    except OSError:
        return False
