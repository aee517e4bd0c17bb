"""`stagefarm release`: look at what is published, verify it, and change it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.commands.publish import say, show
from tasks.errors import BadInput

if TYPE_CHECKING:
    from orchestrator.release.catalog import Catalog
    from orchestrator.release.mirror import Mirror
    from orchestrator.release.publisher import Publisher
    from tasks.trust.keys import PublicKey

WHERE = "RELEASE_FILE|URL"

file_argument = click.argument("file", metavar="RELEASE_FILE", type=click.Path(path_type=Path))
where_argument = click.argument("where", metavar=WHERE)
key_option = click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="KEY",
    help="The release's public key, such as ed25519:…; default: the one given before. Repeatable.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")


@click.group(short_help="Look at what is published, verify it, roll it back.")
def release() -> None:
    """A release is a channel of a mirror: generations of stages, of which a signed pointer names
    the current one. `stagefarm publish` makes them.

    \b
    With nothing but the URL and the public key:
      stagefarm release verify https://mirror.example.org/stable.json --key ed25519:…
    """


@release.command("list", short_help="List the generations of a release.")
@where_argument
@key_option
@json_option
def list_(*, where: str, keys: tuple[str, ...], as_json: bool) -> None:
    """List the generations of a release that are still on its mirror: what can be rolled back to.

    \b
    Examples:
      stagefarm release list releases/stages.yaml
      stagefarm release list https://mirror.example.org/stable.json --key ed25519:…
    """
    from orchestrator.display.table import console
    from orchestrator.release.tables import generations_table

    catalog = _catalog(where, keys, None)
    if not as_json:
        console().print(generations_table(catalog))
        _mention_holds(where)
        return
    first = {
        "version": catalog.version,
        "created_at": catalog.created_at,
        "sha256": catalog.sha256,
        "stages": len(catalog.stages),
        "reason": catalog.reason,
        "current": True,
    }
    import msgspec

    others = [{**msgspec.to_builtins(one), "current": False} for one in catalog.earlier]
    click.echo(json.dumps([first, *others], indent=2))


@release.command("show", short_help="Show the stages of a generation.")
@where_argument
@click.option("--version", type=int, metavar="N", help="Of an earlier generation.")
@key_option
@json_option
def show_(*, where: str, version: int | None, keys: tuple[str, ...], as_json: bool) -> None:
    """Show the stages of the current generation, or of an earlier one.

    \b
    Example:
      stagefarm release show releases/stages.yaml --version 7
    """
    from orchestrator.display.table import console
    from orchestrator.release.tables import stages_table

    catalog = _catalog(where, keys, version)
    if as_json:
        click.echo(catalog.content.decode(), nl=False)
        return
    console().print(stages_table(catalog))
    _mention_holds(where)


@release.command(short_help="Publish an earlier generation once more.")
@file_argument
@click.argument("version", type=int)
@click.option("--dry-run", is_flag=True, help="Print what would change; write nothing.")
@json_option
def rollback(*, file: Path, version: int, dry_run: bool, as_json: bool) -> int:
    """Publish the stages of generation VERSION once more, under a higher version: clients go
    forward to them. Builds that it removes are published again only if `publish` names them.

    \b
    Example:
      stagefarm release rollback releases/stages.yaml 7
    """
    from orchestrator.display.terminal import bars
    from orchestrator.release.setup import publisher_of
    from tasks.settings import current

    with bars() as report:
        publisher = publisher_of(file, current(), report, say, dry_run=dry_run)
        outcome = publisher.roll_back(version)
    return show(outcome, file, dry_run=dry_run, as_json=as_json)


@release.command(short_help="Keep a build whatever the release's rules say.")
@file_argument
@click.argument("build")
@click.option("--remove", is_flag=True, help="Let the rules decide again.")
@json_option
def pin(*, file: Path, build: str, remove: bool, as_json: bool) -> int:
    """Keep BUILD, any unique beginning of its id, in all later generations.

    \b
    Example:
      stagefarm release pin releases/stages.yaml stage3-20261122-7f3a9c0e
    """
    from orchestrator.display.terminal import bars
    from orchestrator.release.setup import publisher_of
    from tasks.settings import current

    with bars() as report:
        publisher = publisher_of(file, current(), report, say)
        outcome = publisher.pin(_published(publisher, build), remove=remove)
    return show(outcome, file, as_json=as_json)


def _published(publisher: Publisher, name: str) -> str:
    """The one build of the current generation whose id is `name`, or begins with it."""
    catalog = publisher.current()
    builds = sorted({stage.build for stage in catalog.stages}) if catalog else []
    found = [build for build in builds if build == name] or [
        build for build in builds if build.startswith(name)
    ]
    if len(found) == 1:
        return found[0]
    said = f"{name!r} is ambiguous: {', '.join(found[:5])}" if found else f"no build {name!r}"
    raise BadInput(f"in the current generation: {said}", "see `stagefarm release show`")


@release.command(short_help="Verify a mirror, or one file, by the public key alone.")
@click.argument("where", metavar="URL|FILE")
@key_option
@click.option("--quick", is_flag=True, help="Only compare sizes; fetch no stages.")
@json_option
def verify(*, where: str, keys: tuple[str, ...], quick: bool, as_json: bool) -> None:
    """Verify what a mirror offers: URL is that of the pointer, such as .../stable.json. Its
    signature is verified by the public key; then every file is fetched, and its size and digest are
    compared. A pointer that has expired, or is older than one that was seen before, is refused.

    A FILE is verified without a network: by the pointer and the catalog that lie beside it, or at
    the root of the copied mirror in which it lies.

    \b
    Examples:
      stagefarm release verify https://mirror.example.org/stable.json --key ed25519:…
      stagefarm release verify stage3-x86-64bit.tar.zst --key ed25519:…
    """
    if _is_url(where):
        _verify_mirror(where, keys, quick=quick, as_json=as_json)
    else:
        _verify_file(Path(where), keys, as_json=as_json)


def _verify_mirror(where: str, keys: Sequence[str], *, quick: bool, as_json: bool) -> None:
    from orchestrator.display.table import console
    from orchestrator.display.terminal import bars, size
    from orchestrator.release.tables import stages_table
    from orchestrator.release.verify import check_content, check_sizes

    with bars() as report, _from_outside(where, keys) as (mirror, catalog):
        files = list(catalog.files)
        (check_sizes if quick else check_content)(mirror, files, report)
    total = sum(file.size_bytes for file in files)
    if as_json:
        about = {"version": catalog.version, "catalog": catalog.sha256, "files": len(files)}
        click.echo(json.dumps({**about, "bytes": total, "fetched": not quick}, indent=2))
        return
    console().print(stages_table(catalog, () if quick else {file.path for file in files}))
    how = "have their sizes" if quick else f"verified, {size(total)} fetched"
    click.echo(
        f"generation {catalog.version} of {catalog.release} {catalog.channel}: "
        f"{len(files)} files {how}"
    )


def _verify_file(file: Path, keys: Sequence[str], *, as_json: bool) -> None:
    from orchestrator.display.terminal import bars
    from orchestrator.display.times import moment
    from orchestrator.release.offline import verify_file
    from orchestrator.release.tables import stage_name

    with bars() as report:
        found = verify_file(file, _keys(str(file), keys), report)
    pointer, stage = found.pointer, found.stage
    if as_json:
        about = {"file": str(file), "sha256": found.file.sha256, "build": stage.build}
        about |= {"release": pointer.release, "channel": pointer.channel}
        click.echo(json.dumps({**about, "version": pointer.version, "gate": found.gate}, indent=2))
        return
    click.echo(f"{file}: {stage_name(stage)}, built {moment(stage.built_at)} as {stage.build}")
    of = f"generation {pointer.version} of {pointer.release} {pointer.channel}"
    click.echo(f"in {of}, signed {moment(pointer.created_at)}")
    if found.sidecars:
        click.echo(f"with {', '.join(found.sidecars)}")
    if found.gate:
        click.echo(f"the gate: {found.gate}")
    if pointer.expires_at < time.time():
        say(f"that was current until {moment(pointer.expires_at)}: there may be newer ones")


# Reading a release


def _mention_holds(where: str) -> None:
    """Say what the gate of the release file `where` holds."""
    from orchestrator.commands.gate_names import holds_at
    from orchestrator.display.table import console
    from orchestrator.gate.tables import holds_table

    if not _is_url(where) and (holds := holds_at(Path(where))):
        click.echo("\nheld by the gate, see `stagefarm gate show`:")
        console().print(holds_table(holds, time.time()))


def _catalog(where: str, keys: Sequence[str], version: int | None) -> Catalog:
    """A generation of the release whose file, or the URL of whose pointer, is `where`."""
    if _is_url(where):
        with _from_outside(where, keys) as (mirror, catalog):
            return catalog if version in (None, catalog.version) else _old(mirror, catalog, version)
    from orchestrator.release.setup import publisher_of
    from tasks.reporting import Silent
    from tasks.settings import current

    publisher = publisher_of(Path(where), current(), Silent(), say)
    return publisher.generation(version)


def _old(mirror: Mirror, catalog: Catalog, version: int | None) -> Catalog:
    from orchestrator.release.catalog import read_catalog
    from orchestrator.release.mirror import whole
    from orchestrator.release.pointer import CATALOG_MAX_BYTES
    from orchestrator.release.publication import generation_of

    old = generation_of(catalog, version or 0)
    return read_catalog(whole(mirror, old.path, CATALOG_MAX_BYTES), old.sha256)


@contextmanager
def _from_outside(where: str, given: Sequence[str]) -> Iterator[tuple[Mirror, Catalog]]:
    """Yields the mirror whose pointer is at the URL `where`, and its current catalog, verified."""
    from orchestrator.release.known import Known
    from orchestrator.release.mirror import mirror_at
    from orchestrator.release.verify import current_pointer, fetch_catalog, seen_of
    from tasks.settings import current

    known, keys = Known.of(current()), _keys(where, given)
    root, _, name = where.rpartition("/")
    channel, seen = name.removesuffix(".json"), known.recall(where).seen
    with mirror_at(root) as mirror:
        pointer = current_pointer(mirror, channel, keys, now=time.time(), seen=seen)
        catalog = fetch_catalog(mirror, pointer)
        known.remember(where, seen_of(pointer), tuple(map(str, keys)))
        yield mirror, catalog


def _keys(where: str, given: Sequence[str]) -> list[PublicKey]:
    """The keys that were given now, or before for the same URL."""
    from orchestrator.release.known import Known
    from tasks.settings import current
    from tasks.trust.keys import PublicKey

    texts = given or Known.of(current()).recall(where).keys
    if not texts:
        raise BadInput(
            f"the public key of the release is not known for {where}",
            "give --key ed25519:…, as its maintainers publish it",
        )
    return [PublicKey.parse(text) for text in texts]


def _is_url(where: str) -> bool:
    if "://" not in where:
        return False
    if not where.endswith(".json"):
        raise BadInput(f"{where} is not the URL of a pointer", "such as https://…/stable.json")
    return True
