"""What signatures cost: of a job of ten hook files, and of its result.

Run by `make bench`. The goal is 2 ms a build for all of it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

from tasks.model import Build, Hook, HookType, Step, StepKind, encode
from tasks.trust.builds import sign, stored, verified
from tasks.trust.statements import sign_result, verified_result
from tests.builds import any_build
from tests.trusted import NOW, an_artifact, host, job_of, key, submitter, trusting

GOAL_MS = 2.0


def a_job() -> Build:
    commands = tuple(f"emerge -1 package-{number} && eselect something" for number in range(10))
    hook = Hook(name="h", type=HookType.INNER_CHROOT, commands=commands)
    hooks = [Step(number=n, kind=StepKind.HOOKS, hooks=(hook,) * 4) for n in range(10)]
    return replace(any_build(environment={f"V{n}": "x" * 40 for n in range(40)}), steps=(*hooks,))


def took_ms(run: Callable[[], object], rounds: int = 300) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)


def main() -> None:
    build, trust = a_job(), trusting(submitter(), host())
    done, signatures = sign(build, key("anna"), submitter="anna", now=NOW, valid_s=60.0)
    spec, job = encode(done).decode(), job_of(build)
    result = sign_result(job, 1, "one", [an_artifact()], "", NOW, key("one"))
    parts: dict[str, Callable[[], object]] = {
        "sign": lambda: sign(build, key("anna"), submitter="anna", now=NOW, valid_s=60.0),
        "verify": lambda: verified(stored(spec, signatures), trust, build.id, at=NOW),
        "sign the result": lambda: sign_result(job, 1, "one", [an_artifact()], "", NOW, key("one")),
        "verify the result": lambda: verified_result(result, job, trust),
    }
    times = {name: took_ms(run) for name, run in parts.items()}
    print(f"signatures of a job of {len(spec):,} bytes, ms: "
          + ", ".join(f"{name} {ms:.2f}" for name, ms in times.items()))  # fmt: skip
    total = sum(times.values())
    print(f"all of it {total:.2f} ms a build   goal {GOAL_MS}  "
          f"{'met' if total <= GOAL_MS else 'MISSED'}")  # fmt: skip


if __name__ == "__main__":
    main()
