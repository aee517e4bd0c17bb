"""Subprocesses: their lines, their codes, their limits, their end."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.errors import HostUnfit, TimedOut
from tasks.host.process import (
    LINE_MAX_BYTES,
    READ_BYTES,
    Limits,
    LineReader,
    output,
    piped,
    run,
    standard_environment,
)
from tasks.reporting import Stream
from tests.waiting import eventually

SH = ("/bin/sh", "-c")
ROOT = Path(__file__).parents[2]


class Lines(list[tuple[str, Stream]]):
    def __call__(self, text: str, stream: Stream) -> None:
        self.append((text, stream))


def alive(pid: int) -> bool:
    """Running, and not merely unburied."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int) -> bool:
    return eventually(lambda: not alive(pid))


def test_lines_of_both_streams_and_the_exit_code() -> None:
    lines = Lines()
    code = run([*SH, "echo one; echo two >&2; printf three; exit 7"], on_line=lines)
    assert code == 7
    assert sorted(lines) == [("one", Stream.STDOUT), ("three", Stream.STDOUT), ("two", "stderr")]


def test_a_signal_is_a_negative_code() -> None:
    assert run([*SH, "kill -SEGV $$"], on_line=Lines()) == -signal.SIGSEGV


def test_the_environment_is_only_what_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    lines = Lines()
    run(["/usr/bin/env"], on_line=lines, env={"A": "1"})
    assert lines == [("A=1", Stream.STDOUT)]


def test_the_standard_environment_has_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGEFARM_REDIS_URL", "redis://:s3cret@h")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.delenv("LS_COLORS", raising=False)
    assert standard_environment().keys() == {"PATH", "HOME", "LANG", "TERM", "COLORTERM"}


def test_standard_input_larger_than_a_pipe_arrives_whole() -> None:
    lines = Lines()
    run(["/usr/bin/wc", "-c"], on_line=lines, stdin=b"x" * 1_000_000)
    assert lines == [("1000000", Stream.STDOUT)]


def test_a_missing_program_is_named() -> None:
    with pytest.raises(HostUnfit, match="cannot start /no/such: No such file"):
        run(["/no/such"], on_line=Lines())


def test_what_a_process_leaves_behind_does_not_hold_it_up() -> None:
    lines = Lines()
    code = run([*SH, "sleep 1000 & echo $!"], on_line=lines, limits=Limits(timeout_s=60))
    left_behind = int(lines[0][0])
    assert code == 0
    assert alive(left_behind)
    os.kill(left_behind, signal.SIGKILL)


def test_what_a_process_leaves_behind_is_not_listened_to() -> None:
    """All that the process itself wrote is read, and what was in the pipe at its end, no more."""
    started: list[int] = []
    left_behind: list[int] = []
    late: list[str] = []

    def take(text: str, stream: Stream) -> None:
        if stream is Stream.STDERR:
            left_behind.append(int(text))
        elif not alive(started[0]):
            late.append(text)

    code = run([*SH, "yes spam & echo $! >&2; exit 3"], on_line=take, on_start=started.append)
    assert code == 3
    os.kill(left_behind[0], signal.SIGKILL)
    assert len("\n".join(late)) <= 3 * READ_BYTES


def test_a_time_limit_ends_the_whole_group() -> None:
    lines = Lines()
    with pytest.raises(TimedOut, match="longer than its time limit of 0.2 s"):
        run([*SH, "sleep 1000 & echo $!; wait"], on_line=lines, limits=Limits(timeout_s=0.2))
    assert gone(int(lines[0][0]))


def test_silence_is_limited_too() -> None:
    with pytest.raises(TimedOut, match="printed nothing for 0.2 s"):
        run([*SH, "echo; exec sleep 1000"], on_line=Lines(), limits=Limits(idle_s=0.2))


def test_output_without_end_does_not_outlast_the_limit() -> None:
    with pytest.raises(TimedOut):
        run(["/usr/bin/yes"], on_line=lambda *_: None, limits=Limits(timeout_s=0.2))


def test_an_error_while_reading_ends_the_process() -> None:
    started: list[int] = []

    def fail(text: str, stream: Stream) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([*SH, "echo; exec sleep 1000"], on_line=fail, on_start=started.append)
    assert gone(started[0])


def test_a_process_deaf_to_term_is_killed() -> None:
    started: list[int] = []
    with pytest.raises(TimedOut):
        run(
            [*SH, "trap '' TERM; while :; do sleep 1; done"],
            on_line=Lines(),
            on_start=started.append,
            grace_s=0.1,
            limits=Limits(timeout_s=0.2),
        )
    assert gone(started[0])


def test_lines_end_at_newlines_and_carriage_returns_and_never_grow_without_end() -> None:
    lines = Lines()
    reader = LineReader(lines, Stream.STDOUT)
    reader.feed(b"10%\r20%\r")
    reader.feed(b"")
    reader.feed(b"\nno")
    reader.feed(b" end\xff")
    reader.feed(b"y" * LINE_MAX_BYTES)
    reader.close()
    texts = [text for text, _ in lines]
    assert texts[:2] == ["10%", "20%"]
    assert texts[2].startswith("no end\N{REPLACEMENT CHARACTER}yyy")
    assert sum(map(len, texts[2:])) == len("no end?") + LINE_MAX_BYTES


def test_output_gives_code_and_text() -> None:
    assert output([*SH, "echo said; exit 3"]) == (3, "said")


def test_a_program_between_pipes_sees_no_more_of_this_process_than_others_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    script = "env; echo $(ps -o sid= -p $$) = $$; cat"
    with piped([*SH, script], stdout=subprocess.PIPE) as program:
        assert program.stdout
        said = program.stdout.read().decode()
    assert "SECRET" not in said
    assert f"{program.pid} = {program.pid}" in said, "the leader of a session of its own"
    assert program.returncode == 0


def test_a_body_that_fails_ends_the_program_and_its_group() -> None:
    started: list[int] = []

    def fail() -> None:
        with piped([*SH, "sleep 1000 & echo $!; wait"], stdout=subprocess.PIPE) as program:
            assert program.stdout
            started.extend([program.pid, int(program.stdout.readline())])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert all(map(gone, started))


def test_a_program_that_is_not_there_is_named() -> None:
    refused = pytest.raises(HostUnfit, match="cannot start /no/such: No such file")
    with refused as caught, piped(["/no/such"]):
        pass
    assert caught.value.hint == "is /no/such installed?"


INIT = """
import os
from tasks.host.process import piped, reap_orphans

ended = os.WEXITED | os.WNOWAIT
with piped(["sh", "-c", "exit 7"]) as program:
    os.waitid(os.P_PID, program.pid, ended)
    reap_orphans()
    print(program.wait())

ready, go = os.pipe()
if not (parent := os.fork()):
    if not os.fork():
        os.read(ready, 1)
    os._exit(0)
os.waitpid(parent, 0)
os.write(go, b"!")
os.waitid(os.P_ALL, 0, ended)
reap_orphans()
try:
    os.waitid(os.P_ALL, 0, ended)
except ChildProcessError:
    print("no orphan")
"""


@pytest.mark.root
def test_reaping_orphans_takes_no_exit_code_that_somebody_waits_for(can_isolate: None) -> None:
    """In a namespace whose init starts programs, as that of a step does."""
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--mount-proc", sys.executable, "-c", INIT],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == ["7", "no orphan"], done.stderr


def test_programs_are_started_through_one_door() -> None:
    """See `tasks.host.process`; the demo starts its servers itself."""
    starting = re.compile(
        r"subprocess\.(Popen\(|run\(|call|check|getoutput)|os\.(system|popen|spawn)"
    )
    files = [*(ROOT / "tasks").rglob("*.py"), *(ROOT / "orchestrator").rglob("*.py")]
    found = {str(f.relative_to(ROOT)) for f in files if starting.search(f.read_text())}
    demo = {"orchestrator/demo/servers.py", "orchestrator/demo/show.py"}
    assert found == {"tasks/host/process.py"} | demo
