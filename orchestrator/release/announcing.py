"""What a release says of each stage that it publishes: that it is part of it.

It is an in-toto statement with the predicate release v0.1 of in-toto, signed with the key of the
release, beside the tarball as `<tarball>.release.intoto.jsonl`. The generation that it names is the
first one with the stage.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

import msgspec
from packageurl import PackageURL

from orchestrator.release.catalog import Catalog, File, Stage
from orchestrator.release.made import RELEASE, with_file
from tasks.store.store import StoredFile
from tasks.trust.envelope import PayloadType, signed, to_text
from tasks.trust.keys import PrivateKey
from tasks.trust.statements import IN_TOTO_NAMES, STATEMENT, Digested

PREDICATE: Literal["https://in-toto.io/attestation/release/v0.1"] = (
    "https://in-toto.io/attestation/release/v0.1"
)


class Predicate(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`release_id` is `<release>/<channel>/<generation>`."""

    purl: str
    release_id: str


class Announcement(msgspec.Struct, frozen=True, kw_only=True, rename=IN_TOTO_NAMES):
    type: Literal["https://in-toto.io/Statement/v1"] = STATEMENT
    predicate_type: Literal["https://in-toto.io/attestation/release/v0.1"] = PREDICATE
    subject: tuple[Digested, ...]
    predicate: Predicate


def announced(
    catalog: Catalog, before: Catalog | None, key: PrivateKey
) -> tuple[Catalog, dict[str, StoredFile]]:
    """The catalog, whose stages all have such a statement among their sidecar files, that of the
    generation `before` if they were in it; and those that were made, by their paths on the
    mirror."""
    made: dict[str, StoredFile] = {}
    known = {(one.id, one.tarball.sha256): _said_of(one) for one in before.stages} if before else {}

    def complete(stage: Stage) -> Stage:
        if _said_of(stage):
            return stage
        if file := known.get((stage.id, stage.tarball.sha256)):
            return replace(stage, sidecars=(*stage.sidecars, file))
        changed, files = with_file(stage, _name(stage), _statement(stage, catalog, key))
        made.update(files)
        return changed

    return replace(catalog, stages=tuple(map(complete, catalog.stages))), made


def _name(stage: Stage) -> str:
    return f"{stage.tarball.name}.{RELEASE}"


def _said_of(stage: Stage) -> File | None:
    return next((file for file in stage.sidecars if file.name == _name(stage)), None)


def _statement(stage: Stage, catalog: Catalog, key: PrivateKey) -> bytes:
    tarball = stage.tarball
    statement = Announcement(
        subject=(Digested(name=tarball.name, digest={"sha256": tarball.sha256}),),
        predicate=Predicate(
            purl=_purl(stage),
            release_id=f"{catalog.release}/{catalog.channel}/{catalog.version}",
        ),
    )
    payload = msgspec.json.encode(statement)
    return to_text(signed(payload, PayloadType.STATEMENT, key)).encode() + b"\n"


def _purl(stage: Stage) -> str:
    """Of the type `generic`: no other is registered for whole root filesystems."""
    qualifiers = {
        "arch": stage.arch,
        "subarch": stage.subarch,
        "variant": stage.variant,
        "checksum": f"sha256:{stage.tarball.sha256}",
    }
    return PackageURL(
        type="generic",
        name=stage.product,
        version=f"{datetime.fromtimestamp(stage.built_at, UTC):%Y%m%dT%H%M%SZ}",
        qualifiers={name: value for name, value in qualifiers.items() if value},
    ).to_string()
