"""The `anise` source: packages of a Macaroni OS repository, installed by the `anise` program.

The program, and luet, its ancestor with the same commands (both are tried by `make trial-anise`),

- removes the folder of its temporary files as each call ends: two calls must not share one;
- takes a configuration that it cannot read for an empty one, and then that of the host;
- exits with 0 though a package is unknown, so its database is asked afterwards;
- runs finalizers as root in the root filesystem, with the /dev that it sees itself, unless told not
  to: then they are run here (`tasks.sources.finalizers`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from tasks.errors import HostUnfit, SourceFailed
from tasks.host import process
from tasks.host.chroot_paths import inside, make_folder
from tasks.host.mounts import bind, mount
from tasks.model import Source
from tasks.reporting import Line, Stream
from tasks.rootfs.chroot import hide_system
from tasks.sources.destination import Destination
from tasks.sources.finalizers import SKIP, environment, recorded, require_recorded

HOST_CONFIGURATION = ("/etc/anise", "/etc/luet")
PREFIXES = ("ANISE", "LUET")
"""What the program's settings begin with in its environment: its name, and that of its ancestor."""

DATABASES = ("/var/cache/anise", "/var/cache/luet")
SAID_LINES = 5
PACKAGES = "packages"
INSTALL = ("install", "-y", "--skip-config-protect")
INSTALL_SYNCED = ("install", "--sync-repos", "-y", "--skip-config-protect")


def commands(source: Source) -> Iterator[tuple[str, ...]]:
    """What the program is told, call by call, as mark-devkit does."""
    yield ("repo", "update")
    if source.anise_repos:
        yield (*INSTALL, *source.anise_repos)
    if source.anise_packages:
        yield (*INSTALL_SYNCED, *source.anise_packages)
    yield ("cleanup",)


def install(source: Source, rootfs: Path, destination: Destination) -> None:
    """Install the source's repositories and packages into `rootfs`, as mark-devkit does; anise
    runs in the folder where the build was started. `SourceFailed` says what went wrong, and which
    packages are missing; `HostUnfit` that the program is."""
    configuration(source, destination)
    with TemporaryDirectory(prefix="anise.", dir=destination.home) as scratch:
        program = _Program(source, rootfs, destination, Path(scratch))
        for arguments in commands(source):
            if arguments[0] == "install":
                program.install(arguments)
            else:
                program.run(*arguments)
    _make_places(rootfs)
    destination.packages.prune(destination.storage.packages_limit_bytes)


def configuration(source: Source, destination: Destination) -> Path:
    """The file that the job names; `SourceFailed` where it is not there, or on a farm not among
    what was sent along."""
    path = destination.folder / source.anise_config
    folder = destination.folder.resolve()
    if not source.anise_config:
        raise SourceFailed("the job names no configuration of anise", "give source.anise_config")
    if destination.was_sent and not path.resolve().is_relative_to(folder):
        raise SourceFailed(
            f"{source.anise_config} is not in the folder that was sent along",
            "put it into the folder that the build is submitted from",
        )
    if not path.is_file():
        raise SourceFailed(
            f"{source.anise_config}: no such configuration of anise",
            "is it left out by .gitignore or .stagefarmignore?" if destination.was_sent else "",
        )
    return path


def _make_places(rootfs: Path) -> None:
    """What the program leaves of its own folder of packages where that is not another: nothing."""
    for place in DATABASES:
        if inside(rootfs, place).is_dir():
            make_folder(rootfs, f"{place}/packages")


# --- What the program sees of the host ------------------------------------------------------------


def contain(source: Source, destination: Destination) -> None:
    """Hide what is the host's own from the program and from the finalizers that it runs: devices,
    and configuration that the job's does not name. Only inside the private mount namespace of a
    step, which ends it."""
    path = configuration(source, destination)
    named = {*_named_in(path.read_text(errors="replace")), str(path.resolve())}
    assert destination.home
    scratch = destination.home / "contained"
    scratch.mkdir(exist_ok=True)
    for folder in HOST_CONFIGURATION:
        if Path(folder).is_dir() and folder not in named:
            _hide(Path(folder), sorted(named), scratch)
    hide_system(scratch)


def _named_in(text: str) -> Iterator[str]:
    """The paths of the host's configuration that a configuration names outside of comments."""
    for line in text.splitlines():
        if not line.lstrip().startswith("#"):
            yield from re.findall(r"/etc/(?:anise|luet)(?:/[\w.@+-]+)*", line)


def _hide(folder: Path, named: Sequence[str], scratch: Path) -> None:
    """Put a folder over `folder` with nothing in it but what is `named`. It is mounted elsewhere
    first, so that nothing ever stands for the host's own."""
    mount("-t", "tmpfs", "-o", "mode=0755,nosuid,nodev,size=4m", "named", str(scratch))
    for path in map(Path, named):
        if path.is_relative_to(folder) and path.exists():
            shown = scratch / path.relative_to(folder)
            shown.parent.mkdir(parents=True, exist_ok=True)
            shown.mkdir(exist_ok=True) if path.is_dir() else shown.touch()
            bind(path, shown)
    mount("--move", str(scratch), str(folder))


# --- Running it -----------------------------------------------------------------------------------


class _Program:
    """The program with the settings of one build, and what it said in its last call."""

    def __init__(
        self, source: Source, rootfs: Path, destination: Destination, scratch: Path
    ) -> None:
        self._source = source
        self._rootfs = rootfs
        self._destination = destination
        self._environment = _environment(scratch)
        self._packages = scratch / PACKAGES
        self._said: list[str] = []
        self._finalized = max((one.number for one in recorded(rootfs)), default=0)

    def install(self, arguments: Sequence[str]) -> None:
        """A call that installs, with the packages that this machine has kept; `SourceFailed` unless
        all it asks for is there afterwards, and all finalizers succeed."""
        cache = self._destination.packages
        if self._destination.finalizers:
            arguments = (*arguments, SKIP)
        try:
            self._install_in_turn(arguments)
        except SourceFailed:
            if not (damaged := cache.drop_damaged(self._packages)):
                raise
            self._destination.note(f"kept packages were damaged: {', '.join(damaged)}; once more")
            self._install_in_turn(arguments)
        there = self._installed()
        cache.touch({package.stem for package in there})
        self._require(arguments, there)
        self._finalize(there)

    def _install_in_turn(self, arguments: Sequence[str]) -> None:
        """Other builds wait until this one has downloaded all, and find it kept. Where the program
        does not tell, they wait until it is done."""
        cache = self._destination.packages
        waits = "waiting for another build of this machine, which downloads packages"
        with ExitStack() as turn:
            turn.enter_context(cache.downloading(lambda: self._destination.note(waits)))
            turn.callback(cache.keep, self._rootfs, self._packages)
            cache.offer(self._rootfs, self._packages)
            self.run(*arguments, once_downloaded=turn.close)

    def run(self, *arguments: str, once_downloaded: Callable[[], None] = lambda: None) -> None:
        """One call, its output in the log; `SourceFailed` with its last words where it fails."""

        def look(text: str) -> None:
            if _DOWNLOADED.search(text):
                once_downloaded()

        code = self._call(arguments, self._environment | _no_lock(self._rootfs), on_line=look)
        unread = [text for text in self._said if self._is_unread(text)]
        if code or unread:
            how = f"exited with {code}" if code else "did not read its configuration"
            said = " / ".join(unread or _last_words(self._said))
            raise SourceFailed(f"`anise {' '.join(arguments)}` {how}: {said or 'it said nothing'}")

    def _require(self, arguments: Sequence[str], there: Sequence[_Installed]) -> None:
        wanted = [text for text in arguments[1:] if not text.startswith("-")]
        if missing := [text for text in wanted if not _is_met(text, there)]:
            raise SourceFailed(
                f"anise did not install {', '.join(missing)}",
                f"does a repository of {self._source.anise_config} have it?",
            )

    def _finalize(self, there: Sequence[_Installed]) -> None:
        """Run the finalizers of what this call installed, unless the program has."""
        if not (finalizers := self._destination.finalizers):
            return
        found = recorded(self._rootfs)
        titles = {package.stem: f"{package.full_name} {package.version}" for package in there}
        require_recorded(self._rootfs, titles, found)
        if new := [one for one in found if one.number > self._finalized]:
            variables = environment(self._ask("config"), self._ask("--version"))
            finalizers.run(titles, new, variables, self._destination.report)
            self._finalized = new[-1].number

    def _ask(self, *arguments: str) -> str:
        """What the program prints on its standard output."""
        printed: list[str] = []

        def take(text: str, stream: Stream) -> None:
            if stream is Stream.STDOUT:
                printed.append(text)

        process.run(
            [*self._argv, *arguments],
            on_line=take,
            env=self._environment,
            cwd=self._destination.folder,
        )
        return "\n".join(printed)

    def _installed(self) -> tuple[_Installed, ...]:
        """`search --installed` looks where the environment says, not `--system-target`."""
        places = {f"{prefix}_SYSTEM__ROOTFS": str(self._rootfs) for prefix in PREFIXES}
        arguments = ("search", "--installed", "--hidden", "--full", "-o", "json")
        code = self._call(arguments, self._environment | places)
        for text in reversed(self._said):
            try:
                return msgspec.json.decode(text, type=_Answer).stones or ()
            except msgspec.MsgspecError:
                continue
        said = " / ".join(_last_words(self._said))
        raise SourceFailed(f"anise does not tell what is installed (exit code {code}): {said}")

    def _call(
        self,
        arguments: Sequence[str],
        environment: dict[str, str],
        on_line: Callable[[str], None] | None = None,
    ) -> int:
        """One call; with `on_line` its lines go there and to the log."""
        self._said = []

        def take(text: str, stream: Stream) -> None:
            self._said.append(text)
            if on_line:
                self._destination.report.line(Line(text=text, hook="anise", stream=stream))
                on_line(text)

        argv = [*self._argv, *arguments]
        try:
            return process.run(argv, on_line=take, env=environment, cwd=self._destination.folder)
        except HostUnfit as error:
            raise HostUnfit(
                f"an anise source needs the anise program: {error}",
                "install anise (Macaroni OS) on this machine, or use an http or file source",
            ) from error

    @property
    def _argv(self) -> list[str]:
        base = ["anise", "--system-target", str(self._rootfs), "--config"]
        return [*base, self._source.anise_config]

    def _is_unread(self, text: str) -> bool:
        return f"rror on reading file {self._source.anise_config}" in text


def _environment(scratch: Path) -> dict[str, str]:
    """The program's own temporary files and home, and nothing that depends on who started the
    build."""
    home, temporary, packages = (scratch / name for name in ("home", "tmp", PACKAGES))
    for folder in (home, temporary, packages):
        folder.mkdir()
    settings = {
        "SYSTEM__TMPDIR_BASE": str(temporary / "base"),
        "SYSTEM__PKGS_CACHE_PATH": str(packages),
        "NO_SPINNER": "true",
    }
    return (
        process.standard_environment()
        | {"HOME": str(home), "TMPDIR": str(temporary), "LANG": process.STANDARD_LANG}
        | {f"{prefix}_{name}": value for prefix in PREFIXES for name, value in settings.items()}
    )


def _no_lock(rootfs: Path) -> dict[str, str]:
    """The program makes its lock in /var/lock of the root filesystem; where that is a link, such as
    one to /run/lock, it would be the host's, for all builds at once."""
    is_link = (inside(rootfs, "/var") / "lock").is_symlink()
    return {f"{prefix}_NOLOCK": "true" for prefix in PREFIXES} if is_link else {}


_DOWNLOADED = re.compile(r"Executing \d+ packages operations")
_COLOR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_ERROR = re.compile(
    "error|fail|invalid|cannot|not found|no such|conflict|mism|denied", re.IGNORECASE
)


def _last_words(said: Sequence[str]) -> list[str]:
    """The last lines that tell of an error, without colors, or the last lines at all."""
    lines = [text for line in said if (text := " ".join(_COLOR.sub("", line).split()))]
    return ([line for line in lines if _ERROR.search(line)] or lines)[-SAID_LINES:]


# --- What is installed ----------------------------------------------------------------------------


class _Provided(msgspec.Struct):
    name: str
    category: str
    version: str = ""

    @property
    def full_name(self) -> str:
        return f"{self.category}/{self.name}"


class _Installed(_Provided):
    provides: tuple[_Provided, ...] | None = None

    @property
    def stem(self) -> str:
        """What the name of the package's file begins with."""
        return f"{self.name}-{self.category}-{self.version}"


class _Answer(msgspec.Struct):
    """What `search -o json` prints."""

    stones: tuple[_Installed, ...] | None


_REQUEST = re.compile(
    r"(?P<operator>[<>=~!]*)(?P<name>[^@:\[*]+)(?P<any>\*?)"
    r"(?:::?[^@\[]*)?(?:\[[^@]*\])?(?:@(?P<version>.*))?"
)


def _is_met(request: str, installed: Sequence[_Installed]) -> bool:
    """Whether a package, or what it provides, is what `request` asks for: `app`, `system/app`,
    `system/app@2.0`, or an atom such as `>=system/app-2.0:0::repository[use]`. Only an exact
    version is compared: which of the others will do, the program has decided."""
    match = _REQUEST.fullmatch(request)
    if not match:
        return False
    is_exact = match["operator"] in ("", "=") and not match["any"]
    for package in installed:
        asked = _version_asked(match["name"], match["version"] or "", package)
        if asked is not None and (not is_exact or _is_version(package, asked)):
            return True
        provided = package.provides or ()
        if any(_version_asked(match["name"], "", one) is not None for one in provided):
            return True
    return False


def _version_asked(name: str, version: str, package: _Provided) -> str | None:
    """The version that is asked for, empty for any, if it is `package` that is asked for."""
    own = package.full_name if "/" in name else package.name
    if name == own:
        return version
    behind = name.removeprefix(f"{own}-")
    return behind if behind != name and behind[:1].isdigit() else None


def _is_version(package: _Provided, asked: str) -> bool:
    """A version may have the number of its build behind a plus; one that is a condition (`>=1`)
    was the program's to decide on."""
    if not asked[:1].isdigit():
        return True
    return package.version == asked or package.version.startswith(f"{asked}+")
