"""How long looking takes: starting the command line, and planning a large specfile.

Run by `make bench`; prints one line a measurement, each the best of several. The limits are the
project's own: what a person does not notice.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.formats.spec import load_specfile
from orchestrator.planning.plan import PlanOptions
from orchestrator.planning.prepare import render_and_plan

JOBS, HOOK_FILES, TRIES = 20, 10, 5
LIMIT_S = 0.3
SPECFILE = """\
shared: &shared
  source:
    type: http
    uri: "https://build.example.org/{{ .Values.release }}/{{ .Values.subarch }}/stage3.tar.xz"
    target: seeds/{{ .Values.subarch }}/stage3-{{ now | date "2006-01-02" }}.tar.xz
  output:
    name: stage3-{{ .Values.subarch }}{{- if .Values.extras }}+{{- end }}\
{{ join "+" .Values.extras }}.tar.zst
    dir: out/{{ .Values.release }}/
  workspacedir: /workspace
  environments:
    - {key: MAKEOPTS, value: -j9}
  hooks_files: [%s]
jobs:
"""
JOB = """\
- name: job-%d
  <<: *shared
  options: {arch: x86-64bit, subarch: sub_%d, release: next, jobs: 4, extras: [terragon, minimal]}
"""
HOOKS = """\
hooks:
{{- range $i, $extra := .Values.extras }}
- name: {{ $extra | upper }}-{{ $i }}
  type: outer-pre-chroot
  commands:
    - |-
      cat > ${MARKDEVKIT_WORKSPACE}/etc/ego.conf << EOF
      release = {{ $.Values.release }}
      {{- if $.Values.sync_base_url | default "https://git.example.org/{repo}" }}
      sync_base_url = {{ $.Values.sync_base_url | default "https://git.example.org/{repo}" }}
      {{- end }}
      EOF
{{- end }}
- name: build
  commands:
    - emerge $eopts -e system || exit 1
    - ldconfig -p
"""


def best(work: Callable[[], object]) -> float:
    """The shortest of several runs, in seconds."""
    times = []
    for _ in range(TRIES):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


def write_specs(folder: Path) -> Path:
    names = [f"hooks-{number}.yml" for number in range(HOOK_FILES)]
    for number, name in enumerate(names):
        (folder / name).write_text(f"# file {number}\n{HOOKS}")
    specfile = folder / "stages.yaml"
    jobs = "".join(JOB % (number, number) for number in range(JOBS))
    specfile.write_text(SPECFILE % ", ".join(names) + jobs)
    return specfile


def plan_all(specfile: Path) -> None:
    for number in range(JOBS):
        render_and_plan(
            load_specfile(specfile),
            f"job-{number}",
            overrides={},
            now=datetime.now(UTC),
            options=PlanOptions(farm=True),
        )


def start(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "orchestrator", *arguments], check=True, stdout=-3)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        specfile = write_specs(Path(folder))
        measured = {
            f"plan {JOBS} jobs with {HOOK_FILES} hook files each": best(lambda: plan_all(specfile)),
            "stagefarm --help": best(lambda: start("--help")),
            "stagefarm plan of one job": best(
                lambda: start("plan", "--specfile", str(specfile), "--job", "job-0")
            ),
        }
    for what, seconds in measured.items():
        print(f"{what:45} {seconds * 1000:7.0f} ms")


if __name__ == "__main__":
    main()
