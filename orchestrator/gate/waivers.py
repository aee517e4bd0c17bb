"""Waivers: findings that somebody has accepted, until a date, and why.

Each is a DSSE envelope in a line of `<release>.waivers.jsonl` beside the release file, so that it
can be kept in version control with it. A waiver names its finding by check, path, and the values
before and after: when one of them changes, it is another finding, and the waiver does not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from pathlib import Path

from orchestrator.gate.findings import Finding, StageKey
from tasks.errors import BadInput, StagefarmError, Untrusted, of_system
from tasks.host.files import replaced, write_all
from tasks.host.locks import exclusive
from tasks.model import encode
from tasks.trust.builds import CLOCK_LIMIT_S
from tasks.trust.envelope import PayloadType, content, from_text, signed, signer_of, to_text
from tasks.trust.keys import PrivateKey, PublicKey
from tasks.trust.policy import Submitter, Trust

FILE_MAX_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """One accepted finding of the release's stages whose names match the pattern `stage`. `until`
    is the last day, in UTC; `by` is who signed at the time `at`, in seconds since 1970."""

    release: str
    channel: str
    check: str
    path: str
    before: str = ""
    after: str = ""
    stage: str = "*"
    until: date
    because: str
    by: str
    at: float

    @property
    def digest(self) -> str:
        """That of the finding."""
        return Finding(
            check=self.check, path=self.path, before=self.before, after=self.after
        ).digest

    def covers(self, stage: StageKey, finding: Finding) -> bool:
        return self.digest == finding.digest and fnmatchcase(str(stage), self.stage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Void:
    """A line that does not count, and why. `waiver` is what it says, None if it cannot be read."""

    line: int
    reason: str
    waiver: Waiver | None = None
    file: str = ""

    @property
    def text(self) -> str:
        about = f" of {self.waiver.check} {self.waiver.path}" if self.waiver else ""
        return f"{self.file}:{self.line}: the waiver{about} does not count: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waivers:
    """What the file of a release says: the waivers that count, and the lines that do not."""

    valid: tuple[Waiver, ...] = ()
    void: tuple[Void, ...] = ()

    def of(self, stage: StageKey, finding: Finding) -> Waiver | None:
        """The waiver that accepts the finding."""
        return next((one for one in self.valid if one.covers(stage, finding)), None)


NO_WAIVERS = Waivers()


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepters:
    """Whose waivers count for a channel of a release: submitters of the trust file with the right
    `accept_findings`, and who has the release's key."""

    release: str
    channel: str
    trust: Trust
    own: tuple[PublicKey, ...] = ()

    @property
    def keys(self) -> Mapping[PublicKey, Submitter | None]:
        """Each key that may have signed, None for the release's own."""
        own: dict[PublicKey, Submitter | None] = dict.fromkeys(self.own)
        return {entry.public: entry for entry in self.trust.submitters} | own


# The file


def waivers_file(release_file: Path) -> Path:
    return release_file.with_suffix(".waivers.jsonl")


def read_waivers(file: Path, accepters: Accepters, now: float) -> Waivers:
    """The waivers in `file`; none if there is no such file."""
    valid: list[Waiver] = []
    void: list[Void] = []
    for number, line in enumerate(_lines(file), 1):
        if not line.strip():
            continue
        try:
            waiver = _signed_by(line, accepters, now)
        except StagefarmError as error:
            void.append(Void(line=number, reason=str(error), file=file.name))
            continue
        if reason := _ended(waiver, now):
            void.append(Void(line=number, reason=reason, waiver=waiver, file=file.name))
        else:
            valid.append(waiver)
    return Waivers(valid=tuple(valid), void=tuple(void))


def add_waiver(file: Path, waiver: Waiver, key: PrivateKey) -> int:
    """Sign `waiver` and add it to `file`; returns the number of its line, from 1."""
    line = to_text(signed(encode(waiver), PayloadType.WAIVER, key))
    with exclusive(file):
        lines = [*_lines(file), line]
        _write(file, lines)
    return len(lines)


def withdraw_waivers(file: Path, gone: Iterable[int]) -> None:
    """Remove lines of `file`, counted from 1."""
    numbers = set(gone)
    with exclusive(file):
        lines = enumerate(_lines(file), 1)
        _write(file, [line for number, line in lines if number not in numbers])


def lines_of(file: Path, digest: str) -> dict[int, Waiver]:
    """The lines of `file` that accept the finding whose digest begins with `digest`, whoever signed
    them; `BadInput` if these are several findings. All lines if `digest` is empty."""
    found = dict(_unverified(file))
    wanted = {number: one for number, one in found.items() if one.digest.startswith(digest)}
    if digest and len({one.digest for one in wanted.values()}) > 1:
        raise BadInput(f"{digest!r} is ambiguous: {len(wanted)} findings", "give more digits")
    return wanted


def _unverified(file: Path) -> Iterator[tuple[int, Waiver]]:
    for number, line in enumerate(_lines(file), 1):
        try:
            yield number, content(from_text(line), Waiver)
        except StagefarmError:
            continue


def _lines(file: Path) -> list[str]:
    try:
        with file.open("rb") as opened:
            data = opened.read(FILE_MAX_BYTES + 1)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise of_system(error) from error
    if len(data) > FILE_MAX_BYTES:
        raise BadInput(f"{file} is larger than {FILE_MAX_BYTES:,} bytes", "is it the right file?")
    return data.decode(errors="replace").splitlines()


def _write(file: Path, lines: Iterable[str]) -> None:
    try:
        with replaced(file) as fresh:
            write_all(fresh.fileno(), "".join(f"{line}\n" for line in lines).encode())
    except OSError as error:
        raise of_system(error) from error


# What counts


def _signed_by(line: str, accepters: Accepters, now: float) -> Waiver:
    """The waiver in `line`; `Untrusted` if nobody signed it whose waivers count."""
    envelope, keys = from_text(line), accepters.keys
    found = signer_of(envelope, PayloadType.WAIVER, keys)
    if envelope.payload_type != PayloadType.WAIVER:
        raise Untrusted("it is not a waiver")
    if accepters.trust.required:
        if not found:
            raise Untrusted("it was changed, or not signed with a key that this machine trusts")
        if entry := keys[found]:
            _require_right(entry, now)
    waiver = content(envelope, Waiver)
    if (waiver.release, waiver.channel) != (accepters.release, accepters.channel):
        raise Untrusted(f"it is for another release, {waiver.release} {waiver.channel}")
    return waiver


def _require_right(entry: Submitter, now: float) -> None:
    if reason := entry.ended(now):
        raise Untrusted(f"the key of {entry.name} {reason}")
    if not entry.accept_findings:
        raise Untrusted(f"{entry.name} may not accept findings: see accept_findings in trust.toml")


def _ended(waiver: Waiver, now: float) -> str:
    """Why the waiver does not count at `now`; empty if it does."""
    if datetime.fromtimestamp(now, UTC).date() > waiver.until:
        return f"it has lapsed: it was valid until {waiver.until}"
    if waiver.at > now + CLOCK_LIMIT_S:
        return "it was signed in the future: is a clock wrong?"
    return ""
