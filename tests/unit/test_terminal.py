"""What a person sees of a build: lines as they come, colours, and nothing that acts on the
terminal."""

import pytest

from orchestrator.cli import run
from orchestrator.display.printable import coloured, plain
from orchestrator.display.terminal import Terminal
from tasks.model import Step, StepKind
from tasks.reporting import Line, Progress, Stream
from tests.builds import any_build

ACTS = [
    ("reset\x1bc!", "reset!"),
    ("clear\x1b[2J\x1b[H!", "clear!"),
    ("title\x1b]0;mine\x07!", "title!"),
    ("link\x1b]8;;http://h\x1b\\!", "link!"),
    ("clipboard\x1b]52;c;ZXZpbA==\x07!", "clipboard!"),
    ("unended\x1b]0;mine", "unended"),
    ("device\x1bP1;2q~\x1b\\!", "device!"),
    ("asks\x1b[6n!", "asks!"),
    ("lines\x1b#8\x1b(0!", "lines!"),
    ("one byte\x9b2J!", "one byte2J!"),
    ("shift\x0e\x07\x08\x00\x7f!", "shift!"),
    ("lone\x1b", "lone"),
    ("kept\tand\nkept ü │", "kept\tand\nkept ü │"),
]


@pytest.mark.parametrize(("text", "expected"), ACTS)
def test_nothing_acts_on_the_terminal(text: str, expected: str) -> None:
    assert plain(text) == expected
    assert coloured(text) == expected


def test_colours_may_stay_and_end_with_their_text() -> None:
    assert plain("\x1b[31mred\x1b[0m") == "red"
    assert coloured("\x1b[1;31mred\x1b[2K") == "\x1b[1;31mred\x1b[0m"


BUILD = any_build(steps=(Step(number=0, kind=StepKind.SOURCE),))
LINES = (
    Line(text="hook h"),
    Line(text="\x1b[32mgreen\x1bc", hook="h", stream=Stream.STDOUT),
    Line(text="[red]bad", hook="h", stream=Stream.STDERR),
)


def shown(capsys: pytest.CaptureFixture[str], *, quiet: bool = False) -> str:
    with Terminal(BUILD, quiet=quiet) as terminal:
        for line in LINES:
            terminal.line(line)
    return capsys.readouterr().out


def test_lines_are_plain_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys) == "hook h\nh │ green\nh │ [red]bad\n"


def test_lines_have_their_colours_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert shown(capsys) == (
        "\x1b[1;36mhook h\x1b[0m\n"
        "\x1b[2mh │ \x1b[0m\x1b[32mgreen\x1b[0m\n"
        "\x1b[2mh │ \x1b[0m\x1b[33m[red]bad\x1b[0m\n"
    )


def test_quiet_leaves_the_names_of_hooks(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, quiet=True) == "hook h\n"


def test_bars_come_and_go_with_what_they_tell_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    with Terminal(BUILD, quiet=False) as terminal:
        terminal.progress(Progress(what="fetch [x]", done=5, total=10))
        terminal.line(LINES[1])
        terminal.step(BUILD.steps[0])
        during = capsys.readouterr().out
        terminal.line(LINES[1])
        after = capsys.readouterr().out
    assert "fetch [x]" in during
    assert "green" in during
    assert after == "\x1b[2mh │ \x1b[0m\x1b[32mgreen\x1b[0m\n"


@pytest.mark.parametrize("words", [["validate"], ["plan", "--job", "j", "--specfile"]])
def test_an_error_does_not_act_on_the_terminal_either(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert run([*words, "no\x1b]0;mine\x07 such.yaml"]) == 2
    assert "\x1b" not in capsys.readouterr().err
