"""A build's folders on one host: their paths, how the build sees them, who may use them.

    home/                      one build's own folder, locked while the build is worked on
        tree.pid               the process tree of the step that runs, and when it was started
        workspace/             what the build sees at the job's `workspacedir`  (on a farm)
            rootfs/            the root filesystem
        layer/upper, work      what the build changed of its seed  (overlay)
        seed                   a link to the seed below the layer  (overlay)
        output/                where the tarball is packed to  (on a farm)
        context/               the submitter's folder, where outer hooks run  (on a farm)

On one machine without a farm, `home` is `<workspacedir>/.stagefarm`, and the build sees the job's
own folders. Mounts are made only by `enter`, inside the private namespace of a step, and go with
it: on the host no mount of a build ever shows, so nothing can be deleted through one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import HostUnfit
from tasks.host.files import make_folder
from tasks.host.locks import hold_folder, try_lock_folder
from tasks.host.mounts import bind
from tasks.host.removal import remove_tree
from tasks.model import Build, RootfsKind
from tasks.rootfs.layer import mount_layer
from tasks.rootfs.storage import Storage
from tasks.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """The places of one attempt of one build. Strings, because it goes to the step's process as
    JSON; every one is an absolute path.

    `folder` is what the build sees at `workspacedir`; `shared` are the host's folders shown at
    their own path below it (caches); `output_dir` and `working_dir` are where the tarball goes
    and where outer hooks run.
    """

    home: str
    folder: str
    workspacedir: str
    output_dir: str
    working_dir: str
    storage: Storage
    shared: tuple[str, ...] = ()
    rootfs_kind: RootfsKind = RootfsKind.PLAIN

    @classmethod
    def here(cls, build: Build, settings: Settings, *, plain: bool = True) -> Workspace:
        """On one machine: the job's own `workspacedir`; with `plain` the root filesystem is a
        plain folder whatever the job and the settings say."""
        return cls(
            home=f"{build.workspacedir}/.stagefarm",
            folder=build.workspacedir,
            workspacedir=build.workspacedir,
            output_dir=build.output.dir,
            working_dir=build.folder,
            storage=Storage.of(settings),
            rootfs_kind=RootfsKind.PLAIN if plain else _rootfs_kind(build, settings),
        )

    @classmethod
    def on_farm(cls, build: Build, attempt: int, settings: Settings) -> Workspace:
        """On a host of a farm: a folder of this attempt, and the host's shared caches in it."""
        home = str(cls.home_on_farm(build.id, attempt, settings))
        return cls(
            home=home,
            folder=f"{home}/workspace",
            workspacedir=build.workspacedir,
            output_dir=f"{home}/output",
            working_dir=f"{home}/context",
            storage=Storage.of(settings),
            shared=_shared(build),
            rootfs_kind=_rootfs_kind(build, settings),
        )

    @staticmethod
    def home_on_farm(build: str, attempt: int, settings: Settings) -> Path:
        return settings.state / "builds" / f"{build}.{attempt}"

    @staticmethod
    def all_on_farm(settings: Settings) -> list[Path]:
        """The homes that are there, of this incarnation of the worker or an earlier one."""
        with suppress(OSError):
            return sorted(path for path in (settings.state / "builds").iterdir() if path.is_dir())
        return []

    @property
    def is_on_farm(self) -> bool:
        """Whether the build sees its folders at places other than their own."""
        return self.folder != self.workspacedir

    @property
    def rootfs(self) -> Path:
        """The root filesystem as the build sees it: `<workspacedir>/rootfs`."""
        return Path(self.workspacedir, "rootfs")

    def create(self) -> None:
        """Make the folders. Safe to repeat."""
        self._make_home()
        make_folder(Path(self.folder))
        for folder in (self.working_dir, f"{self.folder}/rootfs"):
            _make_as_said(Path(folder))

    def enter(self) -> None:
        """Show the build its folders. Only inside the private mount namespace of a step."""
        for path in self.shared:
            _show(Path(path), Path(self.folder) / Path(path).relative_to(self.workspacedir))
        if self.is_on_farm:
            bind(self.folder, make_folder(Path(self.workspacedir)))
        self.mount_layer()

    def mount_layer(self) -> None:
        """Mount the root filesystem above its seed, if it has one."""
        if (seed := self.seed).is_symlink():
            mount_layer(Path(self.home, "layer"), lower=seed.readlink(), target=self.rootfs)

    @property
    def seed(self) -> Path:
        """The link that names the build's seed, and keeps it from being pruned."""
        return Path(self.home, "seed")

    def remove_rootfs(self) -> None:
        """Remove the root filesystem, its layer and its link to a seed."""
        remove_tree(Path(self.folder, "rootfs"))
        self.remove_layer()

    def remove_layer(self) -> None:
        """Remove what the build changed of its seed, and its link to that."""
        remove_tree(Path(self.home, "layer"))
        self.seed.unlink(missing_ok=True)

    def remove_home(self) -> None:
        """Remove what was written about the build, and leave its root filesystem."""
        remove_tree(Path(self.home))

    def remove(self) -> None:
        """Remove all that the build has on this host."""
        self.remove_rootfs()
        self.remove_home()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the exclusive lock; `HostUnfit` at once where it is taken."""
        with try_lock_folder(self._make_home()) as mine:
            if not mine:
                raise self._in_use()
            yield

    def lock_for_shell(self) -> int:
        """Take a shared lock, which keeps out builds, not other shells; `HostUnfit` where a
        build runs. It is held while the returned descriptor is open, also across exec."""
        if (descriptor := hold_folder(self._make_home())) is None:
            raise self._in_use()
        return descriptor

    def _in_use(self) -> HostUnfit:
        return HostUnfit(
            f"{self.workspacedir} is in use by another build, or by a shell of `stagefarm enter`",
            "wait for it, or give the job a workspacedir of its own",
        )

    def _make_home(self) -> Path:
        """Only for root: it may hold untrusted setuid programs."""
        return make_folder(Path(self.home), mode=0o700)


def _make_as_said(folder: Path) -> None:
    """Make a folder whose mode may become one of the stage's, whatever this process's umask is."""
    if not folder.is_dir():
        make_folder(folder).chmod(0o755)


def _shared(build: Build) -> tuple[str, ...]:
    """The host's folders that a build sees below its `workspacedir`: the sources of its binds, and
    where its download lands. Outermost first, none below another; never `workspacedir` itself
    and its root filesystem, which each build has for its own."""
    wanted = {bind.source for bind in build.chroot_binds}
    wanted |= {
        bind.source for step in build.steps for hook in step.hooks for bind in hook.chroot_binds
    }
    if build.source.target:
        wanted.add(str(Path(build.source.target).parent))
    root = Path(build.workspacedir)
    rootfs = root / "rootfs"
    below = sorted(
        path
        for path in map(Path, wanted)
        if root in path.parents and not path.is_relative_to(rootfs)
    )
    outermost: list[Path] = []
    for path in below:
        if not any(path.is_relative_to(other) for other in outermost):
            outermost.append(path)
    return tuple(map(str, outermost))


def _rootfs_kind(build: Build, settings: Settings) -> RootfsKind:
    """A layer above the seed unless the job or the host wants a plain folder."""
    plain = build.rootfs is RootfsKind.PLAIN or settings.rootfs == RootfsKind.PLAIN
    return RootfsKind.PLAIN if plain else RootfsKind.OVERLAY


def _show(path: Path, place: Path) -> None:
    """Show `path`, a file or else a folder, which is made, at `place`."""
    if path.is_file():
        make_folder(place.parent)
        place.touch()
    else:
        make_folder(path)
        make_folder(place)
    bind(path, place)
