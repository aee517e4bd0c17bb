"""Copies images of an OCI layout to a registry, with skopeo."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec

from tasks.errors import BadInput, HostUnfit
from tasks.host import process

SKOPEO_VARIABLES = (
    "XDG_RUNTIME_DIR",
    "REGISTRY_AUTH_FILE",
    "HTTPS_PROXY",
    "NO_PROXY",
)
REGISTRIES_CONF = "CONTAINERS_REGISTRIES_CONF"
"""The variable by which podman takes another registries.conf; skopeo takes an option only."""

REF_NAME = "org.opencontainers.image.ref.name"


class Descriptor(msgspec.Struct, rename="camel"):
    """What a layout says of a blob."""

    digest: Annotated[str, msgspec.Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]
    size: int
    media_type: str = ""
    annotations: dict[str, str] = {}


class _Index(msgspec.Struct):
    manifests: list[Descriptor]


class _Names(msgspec.Struct):
    """An index, which names manifests, or a manifest, which names the others."""

    manifests: list[Descriptor] = []
    layers: list[Descriptor] = []
    config: Descriptor | None = None


def tags_of(layout: Path) -> tuple[str, ...]:
    """The tags of the layout in that folder, in order."""
    try:
        return tuple(tagged((layout / "index.json").read_bytes(), str(layout)))
    except OSError as error:
        raise BadInput(f"{layout} is not an OCI image layout: {error}") from error


def tagged(index: bytes, where: str) -> dict[str, Descriptor]:
    """What each tag of an `index.json` stands for, in order."""
    try:
        found = msgspec.json.decode(index, type=_Index).manifests
    except msgspec.MsgspecError as error:
        raise BadInput(f"{where} is not an OCI image layout: {error}") from error
    return {tag: one for one in found if (tag := one.annotations.get(REF_NAME))}


def children_of(one: Descriptor, file: Path) -> list[Descriptor]:
    """The blobs that the index or manifest in `file` names; none if `one` is neither."""
    if not one.media_type.endswith((".index.v1+json", ".manifest.v1+json")):
        return []
    try:
        names = msgspec.json.decode(file.read_bytes(), type=_Names)
    except msgspec.MsgspecError as error:
        raise BadInput(f"{file} is not an OCI manifest: {error}") from error
    return [*names.manifests, *([names.config] if names.config else []), *names.layers]


def push(
    layout: Path,
    repository: str,
    tags: Iterable[str] = (),
    *,
    tls: bool = True,
    authfile: Path | None = None,
) -> tuple[str, ...]:
    """Copy `tags`, or all, to `repository` such as `registry.example.org/gentoo/stages`; returns
    them. Layers keep their digests, and what the registry has is not sent again. Credentials are
    skopeo's: those of `skopeo login`, or in `authfile`."""
    wanted = tuple(tags) or tags_of(layout)
    options = [*([] if tls else ["--dest-tls-verify=false"])]
    options += ["--authfile", str(authfile)] if authfile else []
    for tag in wanted:
        _copy(options, f"oci:{layout}:{tag}", f"docker://{repository}:{tag}")
    return wanted


def _copy(options: list[str], source: str, destination: str) -> None:
    conf = os.environ.get(REGISTRIES_CONF)
    argv = ["skopeo", *(["--registries-conf", conf] if conf else []), "copy"]
    argv += ["--quiet", "--all", "--preserve-digests", *options]
    kept = {name: os.environ[name] for name in SKOPEO_VARIABLES if os.environ.get(name)}
    environment = process.standard_environment() | kept
    try:
        code, said = process.output([*argv, source, destination], env=environment)
    except HostUnfit as error:
        raise HostUnfit(f"cannot push to a registry: {error}", "install skopeo") from error
    if code:
        reason = said.strip().splitlines()[-1] if said.strip() else f"exit code {code}"
        raise HostUnfit(f"{destination}: {reason}", "skopeo login REGISTRY gives credentials")
