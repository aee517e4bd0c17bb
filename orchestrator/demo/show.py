"""The demonstration: set up a farm, build the shipped nightly batch, verify the tarballs, publish
them to a mirror, and verify that as its users do; then hold a stage, and release it; then write the
web site about the stages."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from orchestrator.demo.holding import build_again, show_hold
from orchestrator.demo.seed import make_seed
from orchestrator.demo.servers import (
    LOOPBACK,
    free_port,
    http_server,
    process,
    redis_server,
    run,
    stagefarm,
    wait_for_port,
)
from orchestrator.display.terminal import size
from orchestrator.shipped import shipped
from tasks.errors import BadInput, BuildFailed, HostUnfit
from tasks.host.process import output, standard_environment
from tasks.settings import Settings
from tasks.trust.policy import host_key, release_key, submit_key
from tasks.trust.trust_file import add

QUEUES = {"east": "x86-64bit.generic_64", "west": "x86-64bit.amd64-zen2"}
"""The hosts of the farm, each with the queue it serves."""


SUBMITTER = "submitter"


@dataclass(frozen=True, slots=True)
class Place:
    """The folders of one demonstration, all below `root`."""

    root: Path

    @property
    def specs(self) -> Path:
        return self.root / "specs"

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def mirror(self) -> Path:
        return self.root / "mirror"

    @property
    def site(self) -> Path:
        return self.mirror / "report"

    @property
    def release_file(self) -> Path:
        return self.specs / "jobs/demo/release.yaml"

    @property
    def trust_file(self) -> Path:
        return self.root / "trust.toml"

    @property
    def hosts(self) -> Path:
        return self.root / "hosts"

    def state(self, name: str) -> Path:
        """The state folder of a host, or of the submitter."""
        return self.hosts / name

    @property
    def www(self) -> Path:
        return self.root / "www"

    def make(self) -> None:
        """Make the folders, with copies of the shipped specs and hooks, and a seed. `BadInput` if
        there are files that are not of an earlier demonstration: they would be removed."""
        filled = self.root.is_dir() and any(self.root.iterdir())
        if filled and not (self.specs / "jobs" / "demo").is_dir():
            raise BadInput(
                f"{self.root} is not empty, and not of an earlier demonstration",
                "give --folder an empty folder",
            )
        for folder in (self.specs, self.store, self.logs, self.www, self.mirror, self.hosts):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        for name in ("jobs", "hooks"):
            shutil.copytree(shipped(name), self.specs / name)
        make_seed(self.www / "seed.tar.xz")
        self.trust_file.unlink(missing_ok=True)
        trust_each_other(self)


def trust_each_other(place: Place) -> None:
    """Make the keys of the submitter and of the hosts, and the trust file of them all."""
    key = submit_key(Settings(state_dir=str(place.state(SUBMITTER)))).public
    rights = {"outer_hooks": True, "accept_findings": True}
    add(place.trust_file, "submitter", SUBMITTER, str(key), rights)
    for host, queue in QUEUES.items():
        key = host_key(Settings(state_dir=str(place.state(host)))).public
        add(place.trust_file, "host", host, str(key), {"queues": [queue]})


def show(folder: Path, *, hold: bool) -> None:
    """Run the demonstration in `folder`; with `hold`, keep the farm up until Enter is pressed.
    `BuildFailed` if a build or a check failed."""
    console = Console(highlight=False)
    place = Place(folder.absolute())
    console.print(f"[bold]1[/] A seed from this machine's own programs, in {place.root}")
    place.make()
    with _farm(place, console) as (environ, seed_url):
        console.print("[bold]4[/] The nightly batch\n")
        batch = place.specs / "jobs/demo/nightly.yaml"
        submit = ["submit", "--batch", str(batch), "-o", f"seed_url={seed_url}", "--follow"]
        code = subprocess.run(
            stagefarm(*submit), cwd=place.specs, env=environ, check=False
        ).returncode
        if code and not hold:
            raise BuildFailed("a build of the batch failed", f"see the logs in {place.logs}")
        _verify(place, console)
        with http_server(place.mirror) as url:
            _publish(place, url, seed_url, environ, console)
            _write_site(place, environ, console)
            if hold:
                console.print(f"\nThe site about the stages: {url}/report/")
                console.input("The farm is running. Press Enter to stop it. ")
    console.print(f"\nThe site about the stages: {(place.site / 'index.html').as_uri()}")


def _publish(
    place: Place, url: str, seed_url: str, environ: Mapping[str, str], console: Console
) -> None:
    """Publish the batch to a mirror at `url`, and verify it by nothing but that and the key. One
    stage is built once more meanwhile, and held."""
    key = str(release_key(Settings(state_dir=str(place.state(SUBMITTER)))).public)
    text = place.release_file.read_text()
    target = f"  - to: {place.mirror}\n    url: {url}\n"
    place.release_file.write_text(text.replace("  - to: ../../mirror\n", target))
    console.print(f"\n[bold]5[/] Published to {place.mirror}, which {url} serves\n")
    run("publish", str(place.release_file), environ=environ)
    again = build_again(place.specs, seed_url, environ)
    pointer = f"{url}/stable.json"
    console.print(f"\n[bold]6[/] stagefarm release verify {pointer} --key {key}\n")
    run("release", "verify", pointer, "--key", key, environ=environ)
    show_hold(place.release_file, again, environ, console)


def _write_site(place: Place, environ: Mapping[str, str], console: Console) -> None:
    """Write the web site about the stages, beside the mirror."""
    words = ["report", str(place.release_file), "--to", str(place.site)]
    console.print(f"\n[bold]9[/] stagefarm {shlex.join(words)}\n", soft_wrap=True)
    run(*words, environ=environ)


@contextmanager
def _farm(place: Place, console: Console) -> Iterator[tuple[Mapping[str, str], str]]:
    """Run two hosts with their Redis, supervisor and Flower; yields the environment of their
    commands, and the URL of the seed."""
    with ExitStack() as farm:
        redis_url = farm.enter_context(redis_server(place.root / "redis"))
        seed_url = farm.enter_context(http_server(place.www))
        console.print(f"[bold]2[/] Redis at {redis_url}, seed at {seed_url}/seed.tar.xz")
        environ = standard_environment() | _settings(place, redis_url)
        for host, queue in QUEUES.items():
            argv = stagefarm("worker", "--queue", queue, "--slots", "2", "--name", host)
            state = {"STAGEFARM_STATE_DIR": str(place.state(host))}
            log = place.logs / f"worker-{host}.log"
            farm.enter_context(process(argv, log, environ | state))
        log = place.logs / "supervisor.log"
        farm.enter_context(process(stagefarm("supervisor"), log, environ))
        port, log = free_port(), place.logs / "flower.log"
        argv = stagefarm("flower", "--port", str(port))
        farm.enter_context(process(argv, log, environ))
        wait_for_port(port, "Flower", log)
        hosts = ", ".join(f"{host} ({queue})" for host, queue in QUEUES.items())
        console.print(f"[bold]3[/] Hosts {hosts}; Flower at http://{LOOPBACK}:{port}")
        yield environ, f"{seed_url}/seed.tar.xz"


def _settings(place: Place, redis_url: str) -> dict[str, str]:
    return {
        "STAGEFARM_REDIS_URL": redis_url,
        "STAGEFARM_STORE_URL": place.store.as_uri(),
        "STAGEFARM_TRUST_FILE": str(place.trust_file),
        "STAGEFARM_STATE_DIR": str(place.state(SUBMITTER)),
        "STAGEFARM_DISK_FREE_MIN_BYTES": str(256 * 1024 * 1024),
    }


def _verify(place: Place, console: Console) -> None:
    """Unpack every tarball of the store, and list them; `BuildFailed` if one is damaged."""
    tarballs = sorted([*place.store.rglob("*.tar.zst"), *place.store.rglob("*.tar.xz")])
    table = Table(title="\nTarballs, each unpacked to verify it", title_justify="left")
    for column in ("tarball", "size", "files", "sha256"):
        table.add_column(column, justify="right" if column in ("size", "files") else "left")
    for tarball in tarballs:
        digest = hashlib.sha256(tarball.read_bytes()).hexdigest()
        files = _unpack(tarball)
        table.add_row(tarball.name, size(tarball.stat().st_size), str(files), digest[:16] + "…")
    console.print(table)
    console.print(f"They are in {place.store}")


def _unpack(tarball: Path) -> int:
    """The number of files and folders in `tarball`."""
    with tempfile.TemporaryDirectory() as folder:
        code, said = output(["tar", "-xf", str(tarball), "-C", folder])
        if code:
            raise BuildFailed(f"{tarball} cannot be unpacked: {said}")
        return sum(1 for _ in Path(folder).rglob("*"))


def become_root() -> None:
    """As an ordinary user, continue as root of a user namespace; `HostUnfit` if the kernel does
    not allow it."""
    if os.geteuid() == 0:
        return
    namespace = ["unshare", "--map-root-user"]
    code, _ = output([*namespace, "unshare", "--mount", "--pid", "--fork", "--mount-proc", "true"])
    if code:
        raise HostUnfit(
            "an ordinary user cannot make namespaces on this machine", "run it with sudo"
        )
    os.execvp(namespace[0], [*namespace, sys.executable, "-P", "-m", "orchestrator", *sys.argv[1:]])
