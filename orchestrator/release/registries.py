"""Brings registries up to date with the OCI layout of a mirror.

What was pushed is remembered on this machine, tag by tag: so a publication asks registries only for
what is new, and one that failed gets the rest with the next publication.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from orchestrator.release.mirror import Mirror, mirror_at
from orchestrator.release.registry import Descriptor, children_of, push, tagged
from orchestrator.release.targets.folder import FolderTarget
from orchestrator.release.targets.target import Target
from orchestrator.release.views import oci
from orchestrator.release.views.view import ViewFile
from tasks.errors import HostUnfit, StagefarmError, Untrusted, of_system
from tasks.host.files import make_folder, replaced, write_all
from tasks.host.process import STANDARD_PATH
from tasks.model import decode, encode

DOCKER = "docker://"
INDEX = f"{oci.ROOT}/index.json"


@dataclass(frozen=True, slots=True)
class Pushed:
    """The digest of each tag that was pushed to the repository at `where`."""

    where: str
    tags: dict[str, str]


@dataclass(frozen=True, slots=True)
class Registries:
    """The repositories at `urls`, and a folder that remembers what they have."""

    urls: tuple[str, ...] = ()
    notes: Path = Path()

    def require_skopeo(self) -> None:
        """`HostUnfit` if there is something to push and nothing to push it with."""
        if self.urls and not shutil.which("skopeo", path=STANDARD_PATH):
            raise HostUnfit("`registries` are pushed to with skopeo, which is missing", INSTALL)

    def bring_up(
        self,
        targets: Sequence[Target],
        files: Callable[[], Iterable[ViewFile]],
        failed: dict[str, StagefarmError],
        *,
        again: bool = False,
    ) -> dict[str, list[str]]:
        """Push what they lack of the view that `files` makes, or with `again` all, from the first
        of these mirrors, a folder if there is one. Nothing that a mirror says is believed: all is
        named by the digests of the view. Returns the tags that were pushed by URL; `failed` gets
        those that failed."""
        done: dict[str, list[str]] = {}
        source = next((one for one in targets if isinstance(one, FolderTarget)), targets[0])
        for url in self.urls:
            try:
                if tags := self._bring_up(url, source, _index_of(files()), again=again):
                    done[url] = tags
            except StagefarmError as error:
                failed[url] = error
        return done

    def _bring_up(self, url: str, source: Target, index: bytes, *, again: bool) -> list[str]:
        wanted = tagged(index, INDEX)
        known = {} if again else self._recall(url).tags
        new = {tag: one for tag, one in wanted.items() if known.get(tag) != one.digest}
        if not new:
            return []
        known = {tag: digest for tag, digest in known.items() if tag in wanted}
        try:
            with _layout(source, index, new) as layout:
                for tag, one in new.items():
                    push(layout, url.removeprefix(DOCKER), [tag])
                    known[tag] = one.digest
        finally:
            self._remember(Pushed(url, known))
        return list(new)

    def _recall(self, url: str) -> Pushed:
        try:
            return decode(self._file(url).read_bytes(), Pushed)
        except FileNotFoundError:
            return Pushed(url, {})
        except OSError as error:
            raise of_system(error) from error
        except StagefarmError as error:
            raise StagefarmError(f"{self._file(url)}: {error}", "remove it") from error

    def _remember(self, pushed: Pushed) -> None:
        try:
            make_folder(self.notes)
            with replaced(self._file(pushed.where)) as file:
                write_all(file.fileno(), encode(pushed))
        except OSError as error:
            raise of_system(error) from error

    def _file(self, url: str) -> Path:
        return self.notes / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.json"


NOWHERE = Registries()
INSTALL = "apt install skopeo"


def _index_of(files: Iterable[ViewFile]) -> bytes:
    return next(file.content for file in files if file.path == INDEX)


@contextmanager
def _layout(source: Target, index: bytes, new: dict[str, Descriptor]) -> Iterator[Path]:
    """The mirror's layout on this machine: the mirror's folder, or the images of those tags as its
    public URL has them."""
    if isinstance(source, FolderTarget):
        yield source.root / oci.ROOT
        return
    with TemporaryDirectory(prefix="stagefarm-oci-") as name, mirror_at(source.url) as mirror:
        layout = Path(name)
        (layout / "index.json").write_bytes(index)
        (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        (layout / "blobs/sha256").mkdir(parents=True)
        for one in new.values():
            _fetch(mirror, one, layout)
        yield layout


def _fetch(mirror: Mirror, one: Descriptor, layout: Path) -> None:
    """Fetch a blob and all that it names; `Untrusted` if it is another one."""
    path = f"blobs/sha256/{one.digest.removeprefix('sha256:')}"
    target = layout / path
    if target.exists():
        return
    with target.open("wb") as file:
        file.writelines(mirror.pieces(f"{oci.ROOT}/{path}", one.size))
    with target.open("rb") as file:
        if f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" != one.digest:
            raise Untrusted(f"{mirror.url}/{oci.ROOT}/{path} is not what was published")
    for child in children_of(one, target):
        _fetch(mirror, child, layout)
