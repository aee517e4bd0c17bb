"""`make mutants`: change the guards one at a time, and see whether a test notices.

    python -m tests.mutants                     all of them
    python -m tests.mutants claim.lua folder.py those of files whose path has one of these words

Exits with 1 if a mutant survives that survivors.toml does not name with a reason.
"""

from __future__ import annotations

import os
import sys
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import redis

from tests.mutants import lua, python
from tests.mutants.mutant import Mutant, mutant_of
from tests.mutants.running import ROOT, Fate, Slot
from tests.mutants.targets import BY_HAND, TARGETS
from tests.redis_server import RedisServer

SURVIVORS = Path(__file__).with_name("survivors.toml")
SLOTS = os.cpu_count() or 1
LIBRARIES = ("pytest", "hypothesis", "celery", "redis", "msgspec", "tenacity", "httpx", "rich")
"""Loaded once, not for each mutant."""

SLOT: Slot

Job = tuple[Mutant, tuple[str, ...]]


def main(words: list[str]) -> int:
    started = time.monotonic()
    accepted, jobs = accepted_survivors(), list(jobs_of(words))
    with (
        TemporaryDirectory(prefix="stagefarm-mutants-") as folder,
        ProcessPoolExecutor(SLOTS, get_context("fork"), open_slot, (folder,)) as pool,
    ):
        if not all(pool.map(passes_unchanged, first_of_each(jobs))):
            return 1
        fates = dict(zip(jobs, pool.map(try_out, jobs), strict=True))
    print_table(fates, accepted)
    survivors = [job[0] for job, fate in fates.items() if fate is Fate.SURVIVED]
    unknown = [mutant for mutant in survivors if mutant.name not in accepted]
    for mutant in unknown:
        print(f"\n{mutant.file}\n    {[mutant.was, mutant.now]},")
    if not words:
        for name in sorted(accepted - {mutant.name for mutant in survivors}):
            print(f"\nsurvivors.toml: no mutant like this survives any more: {name}")
    print(f"\n{len(unknown)} unexpected survivors, {time.monotonic() - started:.0f} s")
    return 1 if unknown else 0


# What to try


def jobs_of(words: list[str]) -> Iterator[Job]:
    for target in TARGETS:
        for path in sorted(ROOT.glob(target.files)):
            file = str(path.relative_to(ROOT))
            if not words or any(word in file for word in words):
                for mutant in mutants_of(file, path.read_text()):
                    yield mutant, target.tests


def mutants_of(file: str, text: str) -> list[Mutant]:
    """Each once, in the order of the lines."""
    ours = [hand for hand in BY_HAND if hand.file == file]
    assert all(hand.was in text for hand in ours), f"targets.py: {file} has changed"
    made = [text.replace(hand.was, hand.now) for hand in ours]
    if file.endswith(".lua"):
        made += compilable(file, list(lua.mutations(text)))
    else:
        made += python.mutations(text)
    return [mutant_of(file, text, mutated) for mutated in dict.fromkeys(made) if mutated != text]


def compilable(file: str, texts: list[str]) -> list[str]:
    """Those of `texts` that Redis takes as a script."""
    beginning = "" if file.endswith("prelude.lua") else prelude_beside(file)
    with TemporaryDirectory() as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            with server.client() as client:
                return [text for text in texts if loads(client, beginning + text)]
        finally:
            server.kill()


def prelude_beside(file: str) -> str:
    return (ROOT / file).with_name("prelude.lua").read_text()


def loads(client: redis.Redis, script: str) -> bool:
    try:
        client.script_load(script)
    except redis.ResponseError:
        return False
    return True


# Trying it, in a process of the pool


def open_slot(folder: str) -> None:
    global SLOT  # noqa: PLW0603
    for library in LIBRARIES:
        import_module(library)
    SLOT = Slot(Path(folder, str(os.getpid())))


def passes_unchanged(job: Job) -> bool:
    mutant, tests = job
    trial = SLOT.try_out(mutant.file, (ROOT / mutant.file).read_text(), tests)
    if trial.fate is Fate.KILLED:
        print(f"the tests of {mutant.file} fail without a mutant:\n{trial.said}")
    return trial.fate is Fate.SURVIVED


def try_out(job: Job) -> Fate:
    mutant, tests = job
    trial = SLOT.try_out(mutant.file, mutant.text, tests)
    if os.environ.get("MUTANTS_SHOW"):
        change = f"{mutant.file}: {mutant.was} => {mutant.now}"
        print(f"{trial.fate:8} {trial.took_s:5.1f} s {change} {trial.killer}", flush=True)
    return trial.fate


def first_of_each(jobs: list[Job]) -> list[Job]:
    """One job for each set of tests."""
    return list({job[1]: job for job in reversed(jobs)}.values())


# What came of it


def accepted_survivors() -> set[tuple[str, str, str]]:
    """The names of the mutants that survivors.toml says why nobody needs to notice."""
    groups = tomllib.loads(SURVIVORS.read_text())["accepted"]
    assert all(group["why"] for group in groups), "survivors.toml: each has its reason"
    return {(group["file"], was, now) for group in groups for was, now in group["mutants"]}


def print_table(fates: dict[Job, Fate], accepted: set[tuple[str, str, str]]) -> None:
    print(f"{'file':40} {'mutants':>8} {'killed':>8} {'accepted':>9} {'unexpected':>11}")
    by_file: dict[str, list[tuple[Mutant, Fate]]] = {}
    for (mutant, _), fate in fates.items():
        by_file.setdefault(mutant.file, []).append((mutant, fate))
    everything = [one for of_file in by_file.values() for one in of_file]
    for file, of_file in [*by_file.items(), ("all", everything)]:
        alive = [mutant.name in accepted for mutant, fate in of_file if fate is Fate.SURVIVED]
        killed = len(of_file) - len(alive)
        row = (len(of_file), killed, sum(alive), len(alive) - sum(alive))
        print("{:40} {:8} {:8} {:9} {:11}".format(file, *row))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
