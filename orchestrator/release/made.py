"""Files that the publisher makes beside the stages of a generation: statements, signed with the
release's key, and the evidence of ancestors.

They are not in the store, where only hosts write: a new one is in memory until it is on the
mirrors, and they have it from then on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from orchestrator.gate.attestation import ENDING as GATE
from orchestrator.origin.evidence import LINEAGE, REBUILDS
from orchestrator.release.catalog import File, Stage
from orchestrator.release.targets.target import Target
from tasks.errors import StagefarmError
from tasks.store.held import HeldFile
from tasks.store.store import StoredFile

RELEASE = "release.intoto.jsonl"
MADE = tuple(f".{ending}" for ending in (GATE, LINEAGE, REBUILDS, RELEASE))


def with_file(stage: Stage, name: str, content: bytes) -> tuple[Stage, dict[str, StoredFile]]:
    """The stage with a file that was made, in the place of one of the same name; and the file, by
    its path on a mirror."""
    digest = hashlib.sha256(content).hexdigest()
    file = File(name=name, size_bytes=len(content), sha256=digest)
    others = tuple(one for one in stage.sidecars if one.name != name)
    return replace(stage, sidecars=(*others, file)), {file.path: HeldFile(name, content)}


def made_before(file: File, targets: Iterable[Target]) -> StoredFile | None:
    """A file that an earlier publication made, as one of the mirrors has it; None for other files,
    or if none has it."""
    if not file.name.endswith(MADE):
        return None
    for target in targets:
        content = None
        with suppress(StagefarmError):  # another one may have it
            content = target.read(file.path, file.size_bytes)
        if content and hashlib.sha256(content).hexdigest() == file.sha256:
            return HeldFile(file.name, content)
    return None
