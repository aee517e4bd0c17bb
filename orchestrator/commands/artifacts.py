"""`stagefarm diff` and `cache`: the content of tarballs, and the seeds kept on this machine."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.commands.names import complete_tarball

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tasks.inspection.compare import Difference
    from tasks.inspection.inventory import Inventory
    from tasks.reporting import Report
    from tasks.rootfs.pruning import Cache
    from tasks.rootfs.seed_cache import Seed, Seeds
    from tasks.sources.download_cache import Download, Downloads

    Kept = Seed | Download
    from tasks.sources.package_cache import KeptPackage, PackageCache

SHOWN = 40
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")


@click.command(short_help="Show what differs between two tarballs.")
@click.argument("before", metavar="A", shell_complete=complete_tarball)
@click.argument("after", metavar="B", shell_complete=complete_tarball)
@click.option("--ignore-times", is_flag=True, help="Omit files that differ only in their times.")
@click.option("--all", "show_all", is_flag=True, help=f"Show more than {SHOWN} lines of each kind.")
@click.option(
    "--html",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write a web page about it: one file that can be sent to others.",
)
@json_option
def diff(
    *,
    before: str,
    after: str,
    ignore_times: bool,
    show_all: bool,
    html: Path | None,
    as_json: bool,
) -> int:
    """Show which packages and files differ between the tarballs A and B, and their sizes. Each is a
    file, a URL of the store (file:// or s3://), or a build of the farm that made one tarball, which
    is verified by its signatures.

    The content of every file is compared. Exits with 1 if a file differs, as `diff` does.

    \b
    Examples:
      stagefarm diff old/stage3.tar.xz new/stage3.tar.zst --ignore-times
      stagefarm diff old/stage3.tar.xz new/stage3.tar.zst --html diff.html
      stagefarm diff stage3-20261122-7f3a9c0e stage3-20261123-0c5d71e8
    """
    import msgspec

    from orchestrator.display.terminal import bars
    from tasks.inspection.compare import difference

    with bars() as report:
        stages = _inventory(before, report), _inventory(after, report)
    found = difference(*stages, times=not ignore_times)
    if html:
        _write_diff(html, *stages, times=not ignore_times)
    if as_json:
        # File names need not be valid text; as escapes they are still exact.
        click.echo(json.dumps(msgspec.to_builtins(found), indent=2))
    else:
        show(found, limit=None if show_all else SHOWN)
    return 0 if found.is_empty else 1


def _write_diff(file: Path, before: Inventory, after: Inventory, *, times: bool) -> None:
    from orchestrator.display.diff_page import diff_page

    write_page(file, diff_page(before, after, times=times))


def write_page(file: Path, page: str) -> None:
    """Write a web page to `file`; `BadInput` if that fails."""
    from tasks.errors import BadInput
    from tasks.host.files import replaced, write_all

    try:
        with replaced(file) as opened:
            write_all(opened.fileno(), page.encode())
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror or error}") from error


def _inventory(named: str, report: Report) -> Inventory:
    """The inventory of the tarball that a file, a URL or a build names."""
    from orchestrator.farm.rebuild import inventory_of
    from tasks.inspection.scan import scan_file
    from tasks.settings import current
    from tasks.store.opening import file_at

    if named.startswith(("s3://", "file://")):
        return inventory_of(file_at(named, current()), "", report)
    if os.path.lexists(named) or "/" in named or ".tar" in named:
        return scan_file(Path(named), report)
    return _inventory_of_build(named, report)


def _inventory_of_build(named: str, report: Report) -> Inventory:
    from orchestrator.farm.lookup import one_build, open_ledger
    from orchestrator.farm.rebuild import inventory_of, made_by
    from tasks.settings import current

    ledger = open_ledger(reading=True)
    tarball, sha256 = made_by(ledger.record(one_build(ledger, named)), current())
    return inventory_of(tarball, sha256, report)


def show(found: Difference, limit: int | None) -> None:
    from orchestrator.display.terminal import size

    for package in found.packages_added:
        click.secho(f"package + {package.full_name} {package.version}", fg="green")
    for package in found.packages_removed:
        click.secho(f"package - {package.full_name} {package.version}", fg="red")
    for upgraded in found.packages_changed:
        versions = f"{' '.join(upgraded.before)} → {' '.join(upgraded.after)}"
        click.secho(f"package ~ {upgraded.name} {versions}", fg="yellow")
    _lines((f"+ {path}" for path in found.files_added), "green", limit)
    _lines((f"- {path}" for path in found.files_removed), "red", limit)
    changed = (f"~ {item.path}  ({', '.join(item.what)})" for item in found.files_changed)
    _lines(changed, "yellow", limit)
    click.echo(
        f"files: {len(found.files_added)} added, {len(found.files_removed)} removed, "
        f"{len(found.files_changed)} changed; tarball {size(found.size_before)} → "
        f"{size(found.size_after)}, content {size(found.unpacked_before)} → "
        f"{size(found.unpacked_after)}"
    )


def _lines(lines: Iterable[str], style: str, limit: int | None) -> None:
    from orchestrator.display.printable import visible

    for number, line in enumerate(lines):
        if number == limit:
            click.secho("  … more, see --all or --json", dim=True)
            return
        click.secho(visible(line), fg=style)


@click.group(short_help="List, verify and prune the seeds and downloads of this machine.")
def cache() -> None:
    """List, verify and prune what this machine keeps to start builds from: unpacked seeds, and the
    downloads of builds that can have no seed."""


@cache.command("list", short_help="List the seeds and downloads, the one used last first.")
@json_option
def list_kept(*, as_json: bool) -> None:
    """List the seeds and downloads that this machine keeps, the one used last first; then the
    packages that anise downloaded.

    \b
    Example:
      stagefarm cache list
    """
    from orchestrator.display.terminal import size

    seeds, downloads = _caches()
    kept: list[tuple[Kept, bool]] = [(seed, seeds.is_used(seed.key)) for seed in seeds.all()]
    kept += [(download, downloads.is_used(download.key)) for download in downloads.all()]
    kept.sort(key=lambda pair: pair[0].used_at, reverse=True)
    packages = _packages().all()
    if as_json:
        found = [_values(item) | {"in_use": used} for item, used in kept]
        click.echo(json.dumps(found + [_package_values(each) for each in packages], indent=2))
        return
    for item, used in kept:
        state = "in use" if used else _since(item.used_at)
        click.echo(f"{item.key[:12]}  {size(item.size_bytes):>9}  {state:<27}  {_name(item)}")
    _list_packages(packages)


@cache.command(short_help="Check that no file of a seed has changed since it was unpacked.")
def verify() -> int:
    """Check that no file of a seed has changed since it was unpacked. Changed seeds are removed if
    no build uses them. Exits with 1 if any seed has changed.

    \b
    Example:
      stagefarm cache verify
    """
    seeds, _ = _caches()
    bad = 0
    for seed in seeds.all():
        intact = seeds.is_intact(seed)
        bad += not intact
        what = "intact" if intact else "changed"
        if not intact:
            what += ", removed" if seeds.remove(seed.digest) else ", still in use"
        click.echo(f"{seed.digest[:12]}  {seed.name}  {what}")
    return 1 if bad else 0


@cache.command(short_help="Remove the seeds and downloads used least recently.")
@click.option("--all", "everything", is_flag=True, help="Remove all that no build uses.")
@json_option
def prune(*, everything: bool, as_json: bool) -> None:
    """Remove the seeds and downloads used least recently, until the rest fits into
    `seeds_limit_bytes`; those in use stay. The same for the packages that anise downloaded, and
    `packages_limit_bytes`.

    \b
    Example:
      stagefarm cache prune --all
    """
    from orchestrator.display.terminal import size
    from tasks import settings
    from tasks.rootfs import pruning

    limits = settings.current()
    caches: Sequence[Cache[Kept]] = _caches()
    removed = pruning.prune(caches, 0 if everything else limits.seeds_limit_bytes)
    packages = _packages().prune(0 if everything else limits.packages_limit_bytes)
    if as_json:
        found = [_values(item) for item in removed]
        click.echo(json.dumps(found + [_package_values(each) for each in packages], indent=2))
        return
    for item in removed:
        click.echo(f"removed {item.key[:12]}  {_name(item)}  {size(item.size_bytes)}")
    for each in packages:
        click.echo(f"removed {each.digest[:12]}  {each.name}  {size(each.size_bytes)}")
    if not removed and not packages:
        click.echo("nothing to remove")


# --- Packages that anise downloaded ---------------------------------------------------------------


def _packages() -> PackageCache:
    from tasks import settings
    from tasks.sources.package_cache import PackageCache

    return PackageCache(settings.current().state / "packages")


def _list_packages(packages: list[KeptPackage]) -> None:
    from orchestrator.display.terminal import size

    if packages:
        total = sum(each.size_bytes for each in packages)
        click.echo(f"\n{len(packages)} packages of anise, {size(total)}")
    for each in packages:
        state = _since(each.used_at)
        click.echo(f"{each.digest[:12]}  {size(each.size_bytes):>9}  {state:<27}  {each.name}")


def _package_values(package: KeptPackage) -> dict[str, object]:
    from dataclasses import asdict

    return {"kind": "package"} | asdict(package)


def _since(used_at: float) -> str:
    return f"used {datetime.fromtimestamp(used_at, UTC):%Y-%m-%d %H:%M} UTC"


def _caches() -> tuple[Seeds, Downloads]:
    from tasks import settings
    from tasks.errors import HostUnfit
    from tasks.rootfs.seed_cache import Seeds
    from tasks.sources.download_cache import Downloads

    state = settings.current().state
    found = Seeds(state / "seeds"), Downloads(state / "downloads")
    for kept in found:
        if kept.root.exists() and not _may_change(kept.root):
            raise HostUnfit(f"{kept.root}: only root may read the {kept.root.name}", "use sudo")
    return found


def _may_change(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=True)


def _name(item: Kept) -> str:
    return item.name if _is_seed(item) else f"{item.name} (download)"


def _values(item: Kept) -> dict[str, object]:
    """What a program is told; a download's key is not the digest of its tarball."""
    from dataclasses import asdict

    return {"kind": "seed" if _is_seed(item) else "download", **asdict(item)}


def _is_seed(item: Kept) -> bool:
    from tasks.rootfs.seed_cache import Seed

    return isinstance(item, Seed)
