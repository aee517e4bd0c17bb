"""What a view is made of, and what it may ask for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from orchestrator.release.catalog import Catalog, File, Stage
from orchestrator.release.facts import Fact, Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewFile:
    """A file that a view shows at `path`, relative to the root of the mirror: `content`, or the
    body of a file of the catalog, which targets show without a second copy where they can.
    `is_index`: it names others, so it is written after them, and replaces its predecessor."""

    path: str
    content: bytes = b""
    body: File | None = None
    is_index: bool = False


class Signer(Protocol):
    """Signs with the release's key, on the publisher's machine."""

    def clear_signed(self, text: str) -> str:
        """The text with an OpenPGP clear signature around it."""

    def detached(self, content: bytes) -> dict[str, bytes]:
        """The detached signatures by the extension of their file, such as `.asc`, `.minisig`."""

    def facts(self) -> dict[str, Fact]:
        """The same for a content that is too large for memory, as facts to learn of it."""


class View(Protocol):
    def files(self, catalog: Catalog, read: Reader, signer: Signer | None) -> Iterator[ViewFile]:
        """All files of the view, indexes last."""

    def facts(self, catalog: Catalog, stage: Stage, signer: Signer | None) -> Iterator[Fact]:
        """What `files` needs to know of the stage's tarball, to be learned in one pass with what
        other views need; what was not learned before, `files` learns itself."""

    def left_out(self, catalog: Catalog) -> Iterator[str]:
        """Which stages the view cannot show, and why: a line for each."""
