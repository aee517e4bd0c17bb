"""Copies images of an OCI layout to a registry, with skopeo."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from tasks.errors import BadInput, HostUnfit, StagefarmError
from tasks.host import process

SKOPEO_VARIABLES = ("XDG_RUNTIME_DIR", "REGISTRY_AUTH_FILE", "HTTPS_PROXY", "NO_PROXY")
REF_NAME = "org.opencontainers.image.ref.name"


class _Manifest(msgspec.Struct):
    annotations: dict[str, str] = {}


class _Index(msgspec.Struct):
    manifests: list[_Manifest]


def tags_of(layout: Path) -> tuple[str, ...]:
    """The tags of the layout in that folder, in order."""
    try:
        index = msgspec.json.decode((layout / "index.json").read_bytes(), type=_Index)
    except (OSError, msgspec.MsgspecError) as error:
        raise BadInput(f"{layout} is not an OCI image layout: {error}") from error
    return tuple(tag for one in index.manifests if (tag := one.annotations.get(REF_NAME)))


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
    argv = ["skopeo", "copy", "--quiet", "--all", "--preserve-digests", *options]
    kept = {name: os.environ[name] for name in SKOPEO_VARIABLES if os.environ.get(name)}
    environment = process.standard_environment() | kept
    try:
        code, said = process.output([*argv, source, destination], env=environment)
    except HostUnfit as error:
        raise HostUnfit(f"cannot push to a registry: {error}", "install skopeo") from error
    if code:
        reason = said.strip().splitlines()[-1] if said.strip() else f"exit code {code}"
        raise StagefarmError(f"{destination}: {reason}", "skopeo login REGISTRY gives credentials")
