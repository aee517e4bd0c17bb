"""What the rules find in logs: each has its cause, and like failures share a fingerprint."""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from itertools import combinations
from pathlib import Path

import pytest

from tasks.causes.fingerprint import fingerprint, normalised, unversioned
from tasks.causes.log import read_tail
from tasks.causes.reader import find_cause
from tasks.causes.rules import load_rules
from tasks.errors import BadInput
from tasks.results import Cause

DATA = Path(__file__).parents[1] / "data/causes"
RULES = load_rules()
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Example:
    """A log of the folder, and what its cause is; `same_as` names the folder of the same cause."""

    folder: str
    file: Path
    rule: str
    package: str
    phase: str
    message: str
    same_as: str
    error: str = ""
    reason: str = ""

    def cause(self, change: Callable[[str], str] = str) -> Cause:
        return cause_in(change(self.file.read_text()), self.error, self.reason)


def cause_in(text: str | bytes, error: str = "", reason: str = "") -> Cause:
    data = text.encode() if isinstance(text, str) else text
    found = find_cause(read_tail(BytesIO(data)), RULES, error=error, reason=reason)
    assert found
    return found


def examples() -> list[Example]:
    table = tomllib.loads((DATA / "expected.toml").read_text())
    assert sorted(table) == sorted(path.name for path in DATA.iterdir() if path.is_dir())
    found = []
    for folder, about in table.items():
        files = sorted((DATA / folder).glob("*.log"))
        reasons = about.pop("reasons", [""] * len(files))
        about.setdefault("same_as", folder)
        for file, reason in zip(files, reasons, strict=True):
            found.append(Example(folder=folder, file=file, reason=reason, **about))
    return found


EXAMPLES = examples()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: f"{one.folder}-{one.file.stem}")
def test_the_cause_of_a_log(example: Example) -> None:
    found = example.cause()
    assert (found.rule, unversioned(found.package), found.phase) == (
        *(example.rule, example.package),
        example.phase or found.phase,
    )
    assert normalised(found.message) == normalised(example.message)
    if found.line:
        marked = next(line.text for line in found.excerpt if line.number == found.line)
        assert marked
        assert marked.strip() in COLOUR.sub("", example.file.read_text())


def figures(print_of: Callable[[Example], str]) -> tuple[int, int, int, int]:
    """How many pairs of logs with one cause share a print, of how many; and how many pairs with
    different causes do, of how many."""
    prints = [(one.same_as, print_of(one)) for one in EXAMPLES]
    pairs = [(a == b, p == q) for (a, p), (b, q) in combinations(prints, 2)]
    same, other = [s for same, s in pairs if same], [s for same, s in pairs if not same]
    return sum(same), len(same), sum(other), len(other)


def test_like_failures_share_a_fingerprint_and_others_do_not(
    record_property: Callable[[str, object], None],
) -> None:
    shared, same, confused, other = figures(lambda one: one.cause().fingerprint)
    record_property("figures", f"{shared}/{same} shared, {confused}/{other} confused")
    assert len(EXAMPLES) >= 200
    assert (shared, confused) == (same, 0)


def test_the_figures_would_tell() -> None:
    """The messages themselves, as they are, would split causes; the kinds alone confuse them."""
    split, same, _, _ = figures(lambda one: one.cause().message)
    assert split < same
    assert figures(lambda one: one.cause().kind)[2] > 0


def test_every_shipped_rule_finds_the_cause_of_some_log() -> None:
    assert {rule.name for rule in RULES.rules} == {one.rule for one in EXAMPLES}
    texts = [line for one in EXAMPLES for line in one.file.read_text().splitlines()]
    hit = {RULES.all[position].name for text in texts for position in RULES.matching(text)}
    assert {place.name for place in RULES.places} <= hit


def coloured(text: str) -> str:
    lines = text.splitlines()
    return "".join(f"\x1b[{31 + i % 6};1m{line}\x1b[0m\x1b[K\r\n" for i, line in enumerate(lines))


def as_on_a_host(text: str) -> str:
    lines = text.splitlines()
    return "".join(
        f"2026-11-22T02:{i // 60 % 60:02}:{i % 60:02}+0000 [work] {line}\n"
        for i, line in enumerate(lines)
    )


def drawn_over(text: str) -> str:
    return "".join(f" 10%\r 80%\r{line}\n" if line else "\n" for line in text.splitlines())


def interleaved(text: str) -> str:
    """With the output of other jobs of a parallel build between the lines that belong to none."""
    chance = random.Random(7)
    other = ["  CC       lib/{}.o", "[{}/4813] Building C object a/{}.o", "checking for f{}... no"]
    found: list[str] = []
    for line in text.splitlines():
        if re.match(r"x86_64-\S+ -D|make\[|configure: error|>>> |libtool|collect2", line):
            found += [chance.choice(other).replace("{}", str(chance.randrange(999)))]
        found.append(line)
    return "\n".join(found)


@pytest.mark.parametrize("change", [coloured, as_on_a_host, drawn_over, interleaved])
def test_how_a_log_was_printed_makes_no_difference(change: Callable[[str], str]) -> None:
    for one in EXAMPLES:
        if change is as_on_a_host and one.error == "SourceFailed":
            continue  # what hooks printed is not read there
        assert one.cause(change).fingerprint == one.cause().fingerprint, one.folder


def test_jobs_of_a_parallel_build_may_fail_in_any_order() -> None:
    first = "src/b.c:10:2: error: unknown type name 'foo'\nsrc/b.c:11:2: error: expected ';'\n"
    second = "src/a.c:7:1: error: conflicting types for 'bar'\nsrc/a.c:9:1: error: a later one\n"
    mixed = "\n".join(
        line for pair in zip(second.splitlines(), first.splitlines(), strict=True) for line in pair
    )
    found = {cause_in(text).fingerprint for text in (first + second, second + first, mixed)}
    assert len(found) == 1
    assert cause_in(first).message == "unknown type name 'foo'", "the first of a file counts"


def test_a_network_error_that_was_overcome_is_not_the_cause() -> None:
    retry = "curl: (6) Could not resolve host: a.example.org\n"
    compile_error = "src/a.c:7:1: error: conflicting types for 'bar'\n"
    assert cause_in(retry + compile_error).kind == "compile"
    assert cause_in(retry).kind == "network"


def test_a_package_that_was_built_is_not_where_a_later_command_failed() -> None:
    built = ">>> Emerging (1 of 1) app-misc/foo-1::gentoo\n>>> Compiling source in /x ...\n"
    failed = "/bin/bash: line 2: depclean: command not found\n"
    done = ">>> Completed (1 of 1) app-misc/foo-1::gentoo\n"
    assert cause_in(built + failed).package == "app-misc/foo-1"
    assert cause_in(built + done + failed).package == ""


def test_only_the_hook_that_failed_is_looked_at() -> None:
    stamp = "2026-11-22T02:14:07+0000"
    log = (
        f"{stamp} [first] E: Unable to locate package tolerated\n"
        f"{stamp} second on builder7\n"
        f"{stamp} [second] frob: command not found\n"
    )
    assert cause_in(log, "HookFailed", "hook second: exited with 127").rule == "command-not-found"
    packed = cause_in(log, "PackFailed", "cannot write /o/x.tar: Input/output error")
    assert (packed.kind, packed.message) == ("unknown", "cannot write /o/x.tar: Input/output error")


def test_an_excerpt_has_the_lines_around_with_their_numbers() -> None:
    log = "\n".join(f"line {number}" for number in range(1, 20)) + "\nx.c:1:2: error: bad\nmore\n"
    found = cause_in(log)
    assert found.line == 20
    assert [line.number for line in found.excerpt] == [16, 17, 18, 19, 20, 21]
    assert found.excerpt[-1].text == "more"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cannot open /a/b/x.h", "cannot open /c/x.h"),
        ("killed 4242 after 3.5s", "killed 17 after 90s"),
        ("at 0x7ffe12 in main", "at 0x1 in main"),
        ("commit 7f3a9c0e51d2 is bad", "commit 02bb41d9fe77 is bad"),
        ("from 10.0.0.1:80 to [2001:db8::1]:443", "from 192.0.2.1:8080 to [::1]:80"),
        ("no route to a.example.org", "no route to build-7.farm.example.net:8080"),
        ("2026-11-22T02:14:07+0100 late", "2027-01-01 23:59:59 late"),
        ("Sun Nov 22 02:14:07 2026 late", "Mon Dec  7 12:00:00 2026 late"),
        ("foo-1.2.tar.xz is bad", "foo-2.0_rc1-r3.tar.xz is bad"),
        ("/tmp/ccAbCd12.o is bad", "/var/tmp/ccXy98zW.o is bad"),
        ("tmp.AbCdEf1234 is bad", "tmp.0987654321 is bad"),
        ("see https://a.example.org/x/foo.html", "see http://b.example.com/y/z/foo.html?q=1"),
        ("‘x’ is bad", "'x' is bad"),
    ],
)
def test_what_a_fingerprint_is_free_of(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)
    assert fingerprint("k", "a/b-1", one) == fingerprint("k", "a/b-2.3-r1::gentoo", other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cannot find -lssl", "cannot find -lssl3"),
        ("cannot open x.h", "cannot open y.h"),
        ("undefined reference to `f1'", "undefined reference to `f2'"),
        ("sys-apps/foo is masked", "sys-libs/foo is masked"),
        ("openssl/ssl.h: missing", "gnutls/ssl.h: missing"),
    ],
)
def test_what_names_the_fault_stays(one: str, other: str) -> None:
    assert fingerprint("k", "", one) != fingerprint("k", "", other)


MINE = """
[[rule]]
name = "frobnicator"
kind = "frob"
order = 1
match = 'frob (?P<message>jammed)'
example = ["frob jammed"]
"""


def test_rules_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(MINE + MINE.replace("frobnicator", "make"))
    (tmp_path / "README").write_text("not a rule")
    rules = load_rules(str(tmp_path))
    assert len(rules.rules) == len(RULES.rules) + 1, "one of a shipped name replaces that"
    found = find_cause(read_tail(BytesIO(b"x.c:1:2: error: bad\nfrob jammed at 7\n")), rules)
    assert found
    assert (found.kind, found.message, found.line) == ("frob", "jammed", 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MINE.replace("jammed)'", "jammed'"), "frobnicator: missing"),
        (MINE.replace("frob (?P<", "(?=frob) (?P<"), "frobnicator: "),
        (MINE.replace('["frob jammed"]', '["frob runs"]'), "does not match its example"),
        (MINE.replace('["frob jammed"]', "[]"), "example"),
        (MINE.replace("order", "ordr"), "ordr"),
        (MINE.replace("<message>", "<msg>"), "unknown group 'msg'"),
        ("[[rule]", "mine.toml"),
    ],
)
def test_rules_that_cannot_be_used(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(BadInput, match=re.escape(said)) as caught:
        load_rules(str(tmp_path))
    assert "mine.toml" in str(caught.value)


def test_a_folder_that_is_not_there() -> None:
    with pytest.raises(BadInput, match="cannot read the rules in /nowhere"):
        load_rules("/nowhere")
