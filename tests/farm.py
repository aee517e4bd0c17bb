"""A farm for one test: its own Redis, real worker processes, builds of trivial hooks."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from celery import Celery

from orchestrator.farm.submit import submit
from tasks.app import make_app
from tasks.errors import FarmUnreachable
from tasks.ledger.builds import Ledger
from tasks.ledger.records import Record
from tasks.model import (
    Build,
    BuildState,
    Hook,
    HookType,
    Output,
    Source,
    SourceType,
    Step,
    StepKind,
)
from tasks.settings import Settings
from tasks.trust.keys import PublicKey
from tasks.trust.policy import host_key, submit_key
from tests.redis_server import RedisServer
from tests.waiting import eventually

QUICK = {
    "lease_s": 3.0,
    "heartbeat_s": 0.25,
    "scan_s": 0.3,
    "resend_s": 3.0,
    "stop_grace_s": 5.0,
    "store_wait_s": 2.0,
    "disk_free_min_bytes": 1,
    "context_limit_bytes": 1024 * 1024,
    "second_tries": False,
}
"""Times short enough for a test; a lease must outlast two gaps of the supervisor (3.5 scans). What
fails is tried by no other host unless the test is about that."""

ROLES = {
    "worker": ("worker", "-A"),
    "supervisor": ("supervisor",),
    "flower": ("flower",),
    "submitter": (
        "submit",
        "cancel",
        "retry",
        "rebuild",
        "drain",
        "undrain",
        "publish",
        "schedule",
    ),
    "monitoring": (
        *("status", "follow", "logs", "why", "workers"),
        *("fetch", "release", "gate", "lineage", "notify", "report", "freshness"),
    ),
    "admin": ("forget", "ledger"),
}
"""The users of deploy/redis/stagefarm.acl, and the commands that each of them is for."""

LIMIT_S = 60.0
QUEUE = "x86-64bit.generic_64"
numbers = itertools.count(1)


def entry(kind: str, name: str, key: PublicKey, **rights: object) -> str:
    """One entry of trust.toml."""
    lines = [f"[[{kind}]]", f'name = "{name}"', f'key = "{key}"']
    return "\n".join([*lines, *(f"{right} = {json.dumps(to)}" for right, to in rights.items()), ""])


@dataclass
class Farm:
    folder: Path
    seed: Path
    redis: RedisServer
    prefix: str = "test"
    store_url: str = ""
    quick: dict[str, float | int | str] = field(default_factory=lambda: dict(QUICK))
    trusted: set[str] = field(default_factory=set)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.redis.guard(self.prefix)

    # What the test asks of the farm

    @cached_property
    def settings(self) -> Settings:
        return self.settings_of("tester")

    @property
    def trust_file(self) -> Path:
        return self.folder / "trust.toml"

    def settings_of(self, host: str) -> Settings:
        """The settings of a host, whose key the whole farm trusts, as it trusts the tester's."""
        settings = self._settings_of(host)
        if host not in self.trusted:
            self.trusted.add(host)
            with self.trust_file.open("a") as file:
                file.write(entry("host", host, host_key(settings).public))
                if host == "tester":
                    rights = ("outer_hooks", "host_privileges", "accept_findings")
                    mine = submit_key(settings).public
                    file.write(entry("submitter", host, mine, **dict.fromkeys(rights, True)))
        return settings

    def _settings_of(self, host: str) -> Settings:
        return Settings(
            redis_url=self.redis.url,
            key_prefix=self.prefix,
            host=host,
            state_dir=str(self.folder / "hosts" / host),
            store_url=self.store_url or self.store.as_uri(),
            trust_file=str(self.trust_file),
            **self.quick,  # type: ignore[arg-type]
        )

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger.open(self.settings)

    @cached_property
    def app(self) -> Celery:
        return make_app(lambda: self.settings)

    def environment(self, host: str, command: str = "submit") -> dict[str, str]:
        """The environment of one of the farm's processes, which comes to Redis as the user that
        its command is for."""
        user = next((user for user, names in ROLES.items() if command in names), "admin")
        settings = replace(
            self.settings_of(host),
            redis_url=self.redis.url_of(user),
            redis_password_file=self.redis.password_file_of(user),
        )
        names = ("key_prefix", "host", "state_dir", "store_url", "trust_file", *self.quick)
        names += ("redis_url", "redis_password_file")
        given = {f"STAGEFARM_{name.upper()}": str(getattr(settings, name)) for name in names}
        return {**os.environ, **given}

    def start(
        self,
        arguments: Sequence[str],
        host: str = "tester",
        within: Sequence[str] = (),
        program: str = "orchestrator",
    ) -> subprocess.Popen[bytes]:
        """Start `stagefarm ARGUMENTS`, by the words of `within`; its output goes to a file."""
        log = self.folder / f"{len(self.processes):02}-{arguments[0]}-{host}.log"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [*within, sys.executable, "-m", program, *arguments],
                cwd=Path(__file__).parents[1],
                env=self.environment(host, arguments[0]),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def command(
        self, *arguments: str, folder: Path = Path(__file__).parents[1]
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "orchestrator", *arguments],
            cwd=folder,
            env=self.environment("tester", arguments[0]),
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )

    def worker(
        self, host: str, *queues: str, slots: int = 1, within: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        """A worker that is there: it has said so to the ledger."""
        asked = [part for queue in queues or (QUEUE,) for part in ("--queue", queue)]
        before = self.incarnation_of(host)
        words = ["worker", *asked, "--slots", str(slots), "--name", host]
        process = self.start(words, host, within)
        assert eventually(lambda: self.incarnation_of(host) != before, LIMIT_S), self.logs()
        return process

    def incarnation_of(self, host: str) -> str | None:
        with self.redis.client() as client:
            return client.hget(f"{self.prefix}:host:{host}", "incarnation")  # type: ignore[return-value]

    def submit(self, *builds: Build) -> list[Build]:
        return submit(builds, ledger=self.ledger, app=self.app, settings=self.settings)

    def record(self, build: Build) -> Record:
        return self.ledger.record(build.id)

    def wait(self, *builds: Build, state: BuildState | None = None) -> list[Record]:
        """The records of `builds`, once all have ended, or reached `state`."""

        def reached() -> bool:
            with contextlib.suppress(FarmUnreachable):
                states = [record.state for record in self.ledger.records(b.id for b in builds)]
                return all(s.ended if state is None else s is state for s in states)
            return False

        assert eventually(reached, LIMIT_S), f"{self.states(*builds)}\n{self.logs()}"
        return self.ledger.records(build.id for build in builds)

    def states(self, *builds: Build) -> dict[str, str]:
        return {build.id: f"{self.record(build)}" for build in builds}

    def wait_step(self, build: Build, step: int) -> Record:
        """The record once `step` runs."""
        assert eventually(lambda: self.record(build).step >= step, LIMIT_S), self.logs()
        return self.record(build)

    def logs(self) -> str:
        return "\n".join(
            f"== {file.name}\n{file.read_text()[-6000:]}"
            for file in sorted(self.folder.glob("*.log"))
        )

    # What the test asks afterwards

    def end(self) -> None:
        """End every process, and with it what hangs on it. Fails if Redis refused any of them
        anything: each has to do its work with the rights of its own user."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
        refused = self.redis.refused() if self.redis.answers() else set()
        self.redis.kill()
        assert refused == set()

    def build(self, *commands: str, name: str = "job", **changes: object) -> Build:
        """A build whose one hook runs `commands` in the seed."""
        hook = Hook(name="work", commands=commands or ("true",), entrypoint=("/bin/bash", "-c"))
        return self.build_of((hook,), name=name, **changes)

    def build_of(self, *groups: tuple[Hook, ...], name: str = "job", **changes: object) -> Build:
        submitter = self.folder / "submitter"
        submitter.mkdir(exist_ok=True)
        build_id = f"{name}-{next(numbers):04}"
        build = Build(
            id=build_id,
            job=name,
            specfile="job.yaml",
            folder=str(submitter),
            source=Source(type=SourceType.FILE, path=str(self.seed)),
            output=Output(name=f"{name}.tar", dir=str(submitter / "output")),
            steps=steps_of(*groups),
            workspacedir=str(self.folder / "workspace"),
            arch="x86-64bit",
            subarch="generic_64",
        )
        return replace(build, **changes)  # type: ignore[arg-type]


def steps_of(*groups: tuple[Hook, ...]) -> tuple[Step, ...]:
    """Source, one step for each group of hooks in its place, pack, publish; hooks of the type
    `gate` are in the step that tests."""
    before = [g for g in groups if g[0].type is HookType.OUTER_PRE_SOURCER]
    after = [g for g in groups if g[0].type is HookType.OUTER_POST_OUTPUT]
    tests = [g for g in groups if g[0].type is HookType.GATE]
    between = [g for g in groups if g not in (*before, *after, *tests)]
    parts: list[tuple[StepKind, tuple[Hook, ...]]] = [
        *((StepKind.HOOKS, group) for group in before),
        (StepKind.SOURCE, ()),
        *((StepKind.HOOKS, group) for group in between),
        (StepKind.PACK, ()),
        *((StepKind.GATE, group) for group in tests),
        *((StepKind.HOOKS, group) for group in after),
        (StepKind.PUBLISH, ()),
    ]
    return tuple(
        Step(
            number=number,
            kind=kind,
            phase=hooks[0].type if kind is StepKind.HOOKS else None,
            file="hooks.yaml" if kind is StepKind.HOOKS else "",
            hooks=hooks,
        )
        for number, (kind, hooks) in enumerate(parts)
    )


def processes_with(text: str) -> dict[int, str]:
    """Processes whose command line or environment names `text`: what a build leaves behind."""
    found = {}
    for folder in Path("/proc").iterdir():
        if re.fullmatch(r"\d+", folder.name):
            with contextlib.suppress(OSError):
                told = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
                if text.encode() in told:
                    found[int(folder.name)] = (folder / "cmdline").read_text()
    return found


def sleepers(farm: Farm) -> list[int]:
    """The sleeps that hooks of this farm's builds run."""
    found = processes_with(str(farm.folder / "workspace"))
    return [pid for pid, line in found.items() if line.startswith("sleep")]


def descendants(pid: int) -> list[int]:
    """`pid` and all below it, as they are now."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if re.fullmatch(r"\d+", folder.name):
            with contextlib.suppress(OSError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(folder.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def kill_all(pids: Sequence[int], how: signal.Signals = signal.SIGKILL) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, how)


def lose_power(process: subprocess.Popen[bytes]) -> None:
    """All processes of a host at once: stopped first, so that none can react."""
    pids = descendants(process.pid)
    kill_all(pids, signal.SIGSTOP)
    kill_all(descendants(process.pid))
    process.wait()


def pool_children(process: subprocess.Popen[bytes]) -> list[int]:
    """The processes of a worker's pool."""
    with contextlib.suppress(OSError):
        return [
            int(pid)
            for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        ]
    return []
