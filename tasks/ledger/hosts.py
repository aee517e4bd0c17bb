"""The hosts of the farm in Redis: which are alive, what each holds, which are drained or unfit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tasks.ledger.answers import Holder, Requeued, RequeueOutcome
from tasks.ledger.connection import Connection
from tasks.model import decode, encode
from tasks.results import SecondTry

Info = Mapping[str, str | int | float]


@dataclass(frozen=True, slots=True)
class Lease:
    """A build that this incarnation of the host holds, as the ledger has it; `step` is -1 before
    the first, `token` names the task that runs it, times that are not set yet are 0."""

    build: str
    attempt: int
    cancel: str
    claimed: float
    step: int
    began: float
    ended: float
    token: str

    @property
    def running(self) -> bool:
        """Has a step begun that has not ended?"""
        return self.step >= 0 and not self.ended


@dataclass(frozen=True, slots=True)
class Orders:
    """The ledger's answer to a host's heartbeat."""

    now: float
    drained: bool
    leases: tuple[Lease, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """Why a host could not do a build of a job, and until when it takes no other of that job."""

    reason: str
    at: float
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host; `left` is when its worker shut down cleanly, 0 if it did not. `refuses` is why it
    takes no new builds, `unfit` why it takes no build of a job, by job, and `cleaning` why it
    cannot remove the folder of an attempt that has ended, by folder. `second_tries` are the last
    builds that failed on it and were tried by another host, newest first."""

    name: str
    seen: float
    drained: float = 0.0
    queues: tuple[str, ...] = ()
    slots: int = 0
    incarnation: str = ""
    boot: str = ""
    pid: int = 0
    version: str = ""
    state: str = ""
    since: float = 0.0
    left: float = 0.0
    disk_free_bytes: int = 0
    refuses: str = ""
    cleaning: Mapping[str, str] = field(default_factory=dict)
    unfit: Mapping[str, Unfit] = field(default_factory=dict)
    builds: tuple[str, ...] = ()
    second_tries: tuple[SecondTry, ...] = ()

    def alive(self, now: float, lease_s: float) -> bool:
        return not self.left and now - self.seen < lease_s


class Hosts:
    """The hosts of one farm."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def register(self, holder: Holder, attempts_max: int, info: Info) -> list[Requeued]:
        """A worker starts; returns the outcome of builds that an earlier incarnation still held."""
        answer = self.connection.script(
            "register_host", holder.host, holder.incarnation, attempts_max, *pairs(info)
        )
        return [
            Requeued(build, RequeueOutcome(outcome), int(attempt))
            for build, outcome, attempt in answer
        ]

    def renew_leases(self, holder: Holder, lease_s: float, info: Info) -> Orders:
        """Renew the leases of `holder`; returns what it has to do."""
        now, drained, *held = self.connection.script(
            "renew_leases", holder.host, holder.incarnation, lease_s, *pairs(info)
        )
        return Orders(float(now), bool(drained), tuple(to_lease(item) for item in held))

    def mark_left(self, holder: Holder) -> None:
        """The worker has shut down cleanly and holds nothing."""
        with self.connection.reaching() as client:
            seconds, _ = client.time()
            client.hset(self.connection.key("host", holder.host), "left", seconds)

    def drain(self, host: str) -> bool:
        """Stop new builds on `host`; False if it was drained before."""
        with self.connection.reaching() as client:
            seconds, _ = client.time()
            return bool(client.hsetnx(self.connection.key("drained"), host, seconds))

    def undrain(self, host: str) -> bool:
        """`host` takes builds again, and is not suspect any more; False if it was not drained."""
        with self.connection.reaching() as client:
            client.delete(self.connection.key("host", host, "second_tries"))
            return bool(client.hdel(self.connection.key("drained"), host))

    def say_unfit(self, host: str, job: str, unfit: Unfit) -> None:
        """Record that `host` takes no build of `job` for a while."""
        with self.connection.reaching() as client:
            client.hset(self.connection.key("host", host, "unfit"), job, encode(unfit).decode())

    def unfit(self, host: str, job: str) -> Unfit | None:
        """Why `host` could not do a build of `job` when it tried last, if it could not."""
        with self.connection.reaching() as client:
            found = client.hget(self.connection.key("host", host, "unfit"), job)
        return decode(found, Unfit) if found else None

    def say_fit(self, host: str, *jobs: str) -> None:
        """Remove the refusals of `jobs` by `host`; without any, all its refusals."""
        key = self.connection.key("host", host, "unfit")
        with self.connection.reaching() as client:
            client.hdel(key, *jobs) if jobs else client.delete(key)

    def all(self) -> list[Host]:
        """Every host ever seen and not forgotten, sorted by name."""
        with self.connection.reaching() as client:
            seen = dict(client.zrange(self.connection.key("hosts"), 0, -1, withscores=True))
            drained = client.hgetall(self.connection.key("drained"))
        names = sorted({*seen, *drained})
        pipeline = self.connection.client.pipeline(transaction=False)
        for name in names:
            pipeline.hgetall(self.connection.key("host", name))
            pipeline.smembers(self.connection.key("host", name, "builds"))
            pipeline.hgetall(self.connection.key("host", name, "unfit"))
            pipeline.lrange(self.connection.key("host", name, "second_tries"), 0, -1)
        found = iter(self.connection.run(pipeline))
        return [
            to_host(name, seen.get(name, 0.0), drained.get(name, 0), *parts)
            for name, *parts in zip(names, found, found, found, found, strict=True)
        ]

    def forget(self, host: str) -> None:
        """Remove a host that is gone for good from the list."""
        with self.connection.reaching() as client:
            client.zrem(self.connection.key("hosts"), host)
            client.hdel(self.connection.key("drained"), host)
            keys = (("host", host), ("host", host, "unfit"), ("host", host, "second_tries"))
            client.delete(*(self.connection.key(*parts) for parts in keys))


def pairs(info: Info) -> list[str | int | float]:
    return [part for item in info.items() for part in item]


def to_lease(item: list[Any]) -> Lease:
    build, attempt, cancel, claimed, step, began, ended, token = item
    return Lease(
        *(build, int(attempt), cancel, float(claimed or 0)),
        *(int(step or -1), float(began or 0), float(ended or 0), token),
    )


def to_host(
    name: str,
    seen: float,
    drained: str,
    fields: Mapping[str, str],
    builds: set[str],
    unfit: Mapping[str, str],
    second_tries: Sequence[str],
) -> Host:
    values: dict[str, object] = {key: text for key, text in fields.items() if text}
    values["queues"] = fields.get("queues", "").split()
    values["cleaning"] = msgspec.json.decode(fields.get("cleaning") or "{}")
    values["unfit"] = {job: msgspec.json.decode(text) for job, text in unfit.items()}
    values["second_tries"] = [msgspec.json.decode(text) for text in second_tries]
    values.update(name=name, seen=seen, drained=drained or 0, builds=sorted(builds))
    return msgspec.convert(values, Host, strict=False)
