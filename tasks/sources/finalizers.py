"""Finalizers, commands of packages that anise runs once it has installed them, in a container.

Left to itself the program runs them in namespaces of its own, in which root may write the host's
kernel settings. So it is told to skip them, and they are run here: in the order in which it
installed the packages, with the variables that it would give them, and as there without a network.
It records them, rendered, in its database, for the removal of the package.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tasks.artifacts import boltdb
from tasks.artifacts.packages import ANISE
from tasks.container.container import Contained, Enter, container
from tasks.errors import HostUnfit, SourceFailed
from tasks.host import process
from tasks.host.chroot_paths import inside
from tasks.host.process import STANDARD_PATH
from tasks.model import Network, Privileges
from tasks.reporting import Line, Report, Stream
from tasks.rootfs.chroot import is_narrow
from tasks.sources.package_cache import REPOSITORIES

SKIP = "--skip-finalizers"
BUCKETS = (b"finalizers", b"PackageFinalizer")
DEFAULT_SHELL = ("sh", "-c")


class Finalizer(msgspec.Struct, frozen=True, kw_only=True):
    """What the database has of one: `package` is `NAME-CATEGORY-VERSION`, and each of `install` is
    run by `shell`. `number` counts in the order of installation."""

    number: int = msgspec.field(name="ID")
    package: str = msgspec.field(name="PackageFingerprint")
    shell: tuple[str, ...] | None = None
    install: tuple[str, ...] | None = None


def recorded(rootfs: Path) -> list[Finalizer]:
    """All that the database of `rootfs` has, in the order in which they were installed;
    `SourceFailed` where it cannot be read."""
    found: list[Finalizer] = []
    for place in ANISE:
        if not (file := inside(rootfs, place)).is_file():
            continue
        try:
            records = boltdb.values(file, *BUCKETS)
            found += [msgspec.json.decode(record, type=Finalizer) for record in records]
        except (boltdb.Damaged, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise SourceFailed(f"cannot read the finalizers in /{place}: {error}") from error
    return sorted(found, key=lambda finalizer: finalizer.number)


def require_recorded(rootfs: Path, installed: Iterable[str], found: Iterable[Finalizer]) -> None:
    """`SourceFailed` where a package of `installed`, each `NAME-CATEGORY-VERSION`, has a finalizer
    in its repository that is not among the `found` ones: it would not be run."""
    missing = set(_in_repositories(rootfs)).intersection(installed)
    if missing := missing.difference(finalizer.package for finalizer in found):
        raise SourceFailed(
            f"anise did not record the finalizers of {', '.join(sorted(missing))}",
            "with `privileges: host` the program runs them itself",
        )


def _in_repositories(rootfs: Path) -> Iterator[str]:
    for place in REPOSITORIES:
        for path in inside(rootfs, place).glob("*/treefs/*/*/*/finalize.yaml"):
            category, name, version = path.parts[-4:-1]
            yield f"{name}-{category}-{version}"


# --- Their variables ------------------------------------------------------------------------------


class _Variable(msgspec.Struct):
    key: str
    value: str | int | float | bool = ""


class _Subsets(msgspec.Struct):
    enabled: tuple[str, ...] | None = None


class Configuration(msgspec.Struct):
    """What `anise config` prints, as YAML, that finalizers are told of."""

    finalizer_envs: tuple[_Variable, ...] | None = None
    subsets: _Subsets | None = None


def environment(printed: str, version: str) -> dict[str, str]:
    """The variables that finalizers see, by what `anise config` and `anise --version` print;
    `SourceFailed` where that cannot be read."""
    try:
        configuration = msgspec.yaml.decode(printed, type=Configuration)
    except msgspec.MsgspecError as error:
        raise SourceFailed(f"cannot read what `anise config` prints: {error}") from error
    number = re.search(r"version (\S+)", version)
    subsets = (configuration.subsets.enabled if configuration.subsets else None) or ()
    return {
        "PATH": STANDARD_PATH,
        **{one.key: str(one.value) for one in configuration.finalizer_envs or ()},
        **dict.fromkeys(("ANISE_VERSION", "LUET_VERSION"), number[1] if number else ""),
        "ANISE_SUBSETS": " ".join(subsets),
    }


# --- Running them ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Finalizers:
    """How the finalizers of a root filesystem are contained, see `Contained`."""

    rootfs: Path
    privileges: Privileges
    filter: bytes

    def run(
        self,
        titles: Mapping[str, str],
        finalizers: Iterable[Finalizer],
        variables: Mapping[str, str],
        report: Report,
    ) -> None:
        """Run the commands of `finalizers`, whose packages have `titles` in messages;
        `SourceFailed` at the first that fails."""
        wanted = Contained(
            rootfs=self.rootfs,
            binds=(),
            privileges=self.privileges,
            network=Network.NONE,
            filter=self.filter,
            narrow=is_narrow(self.rootfs),
        )
        with container(wanted) as enter:
            for finalizer in finalizers:
                title = titles.get(finalizer.package, finalizer.package)
                report.line(Line(text=f"finalizer of {title}", hook="anise", stream=Stream.NOTE))
                for command in finalizer.install or ():
                    argv = (*(finalizer.shell or DEFAULT_SHELL), command)
                    if failure := _failure(argv, variables, report, enter):
                        raise SourceFailed(f"the finalizer of {title} {failure}")


def _failure(
    argv: tuple[str, ...], variables: Mapping[str, str], report: Report, enter: Enter
) -> str:
    """Run `argv`; returns why it failed, with its last words, or nothing."""
    said: list[str] = []

    def take(text: str, stream: Stream) -> None:
        said[:] = [*said[-2:], text]
        report.line(Line(text=text, hook="anise", stream=stream))

    try:
        code = process.run(argv, on_line=take, env=variables, enter=enter)
    except HostUnfit as error:
        if isinstance(error.__cause__, FileNotFoundError | PermissionError):
            return f"cannot be run: {error}"  # the root filesystem lacks its shell
        raise
    return f"exited with {code}: {' / '.join(said) or 'it said nothing'}" if code else ""
