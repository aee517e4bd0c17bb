"""`stagefarm keys`: make keys, show them, and say whom this machine trusts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from tasks.errors import BadInput, StagefarmError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from tasks.trust.policy import Entry

ROLES = click.Choice(["submitter", "host"])


def complete_entry(
    _ctx: click.Context, _param: click.Parameter, start: str
) -> list[CompletionItem]:
    """The names in this machine's trust file."""
    try:
        names = {entry.name for _, entry in _entries()}
    except StagefarmError:
        return []
    return [CompletionItem(name) for name in sorted(names) if name.startswith(start)]


@click.group(short_help="Make keys, and say whom this machine trusts.")
def keys() -> None:
    """Builds are signed by their submitter, results by their host. A machine takes what is signed
    by a key in its trust file (trust_file, /etc/stagefarm/trust.toml); without that file, what was
    signed on the machine itself.

    \b
    A farm of several machines:
      submitter$  stagefarm keys show                     # prints its public key
      host#       stagefarm keys show                     # likewise
      each#       stagefarm keys trust submitter ed25519:… --name anna
      each#       stagefarm keys trust host ed25519:… --name builder7
    """


@keys.command(short_help="Make a submitter's key.")
@click.option("--file", type=click.Path(path_type=Path), metavar="FILE", help="Where to write it.")
@click.option("--passphrase", is_flag=True, help="Ask for a passphrase, and encrypt the key.")
def new(*, file: Path | None, passphrase: bool) -> None:
    """Make a submitter's key and print its public part. `submit` uses the default one by itself,
    and makes it on first use; name another as submit_key_file.

    \b
    Example:
      stagefarm keys new --file ~/keys/nightly.key --passphrase
    """
    from tasks.settings import current
    from tasks.trust.keys import new_key
    from tasks.trust.policy import default_submit_key

    secret = (
        click.prompt("Passphrase", hide_input=True, confirmation_prompt=True) if passphrase else ""
    )
    where = file or default_submit_key(current())
    made = new_key(where, secret)
    click.echo(made.public)
    click.echo(f"the private key is in {where}", err=True)


@keys.command(short_help="Print the public keys of this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
def show(*, as_json: bool) -> None:
    """Print the public keys with which this machine signs: as a submitter, and, run as root, as a
    host. Keys are made on first use.

    \b
    Example:
      stagefarm keys show
    """
    from tasks.settings import current
    from tasks.trust.policy import host_key, submit_key

    settings = current()
    found = {"submitter": str(submit_key(settings).public)}
    if os.geteuid() == 0:
        found["host"] = str(host_key(settings).public)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for role, key in found.items():
        click.echo(f"{role:10} {key}")


@keys.command("list", short_help="List whom this machine trusts.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
def list_(*, as_json: bool) -> None:
    """List the keys that this machine trusts, and for what.

    \b
    Example:
      stagefarm keys list
    """
    import msgspec

    from orchestrator.display.table import console
    from tasks.settings import current
    from tasks.trust.policy import trust_of

    trust = trust_of(current())
    if as_json:
        about = {"submitter": trust.submitters, "host": trust.hosts, "required": trust.required}
        click.echo(msgspec.json.format(msgspec.json.encode(about)).decode())
        return
    if not trust.required:
        click.echo('trust = "redis": nothing is verified; whoever writes to Redis is trusted')
        return
    if not trust.where:
        click.echo(
            f"there is no {current().trust_file}: this machine trusts its own keys", err=True
        )
    console().print(_table(_of(trust.submitters, trust.hosts)))


@keys.command(short_help="Trust a key.")
@click.argument("role", type=ROLES)
@click.argument("key")
@click.option("--name", required=True, metavar="NAME", help="Whose key it is.")
@click.option(
    "--queue", "queues", multiple=True, metavar="PATTERN", help="For these queues only. Repeatable."
)
@click.option("--outer-hooks", is_flag=True, help="May run hooks on the host, as root.")
@click.option("--host-privileges", is_flag=True, help="May use `privileges: host`, and fchroot.")
@click.option("--accept-findings", is_flag=True, help="May accept what the gate has found.")
@click.option(
    "--path", "paths", multiple=True, metavar="DIR",
    help="Folder of the host that builds without --outer-hooks may use [default: /workspace].",
)  # fmt: skip
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), metavar="DATE", help="Last day.")
def trust(
    *,
    role: str,
    key: str,
    name: str,
    queues: tuple[str, ...],
    outer_hooks: bool,
    host_privileges: bool,
    accept_findings: bool,
    paths: tuple[str, ...],
    until: Any,
) -> None:
    """Add KEY to the trust file of this machine, which is made if it is missing. Workers read it
    anew for each build. Two keys of one name can be valid at a time: to rotate a key, trust the new
    one, use it, then revoke the old one.

    \b
    Examples:
      stagefarm keys trust submitter ed25519:… --name anna --queue 'x86-64bit.*' --outer-hooks
      stagefarm keys trust host ed25519:… --name builder7
    """
    from tasks.trust.trust_file import add

    rights: dict[str, object] = {
        "queues": list(queues),
        "outer_hooks": outer_hooks,
        "host_privileges": host_privileges,
        "accept_findings": accept_findings,
        "paths": list(paths),
        "until": until.date() if until else None,
    }
    given = {right: value for right, value in rights.items() if value}
    if role == "host" and (wrong := given.keys() - {"queues", "until"}):
        option = min(wrong).replace("_", "-").replace("paths", "path")
        raise BadInput(f"--{option} is a right of submitters", "leave it out for a host")
    file = add(_file(), role, name, key, given)
    click.echo(f"{name} is trusted as a {role}, see {file}")


@keys.command(short_help="Trust a key no longer.")
@click.argument("key_or_name", shell_complete=complete_entry)
def revoke(*, key_or_name: str) -> None:
    """Mark KEY, or all keys of NAME, as revoked in the trust file of this machine. Builds and
    results that it signed are refused from then on. Do so on every machine.

    \b
    Example:
      stagefarm keys revoke anna
    """
    from tasks.trust.trust_file import revoke as mark

    for entry in mark(_file(), key_or_name):
        click.echo(f"{entry} is revoked")


def _table(entries: Iterator[tuple[str, Entry]]) -> Table:
    from rich.table import Table

    table = Table(show_edge=False, box=None, pad_edge=False)
    for title in ("role", "name", "key", "queues", "may also", "state"):
        table.add_column(title, overflow="fold")
    for role, entry in entries:
        queues, key = " ".join(entry.queues), entry.public.short
        table.add_row(role, entry.name, key, queues, _rights(entry), _state(entry))
    return table


def _file() -> Path:
    from tasks.settings import current

    return Path(current().trust_file)


def _entries() -> Iterator[tuple[str, Entry]]:
    from tasks.settings import current
    from tasks.trust.policy import trust_of

    found = trust_of(current())
    return _of(found.submitters, found.hosts)


def _of(submitters: tuple[Entry, ...], hosts: tuple[Entry, ...]) -> Iterator[tuple[str, Entry]]:
    yield from (("submitter", entry) for entry in submitters)
    yield from (("host", entry) for entry in hosts)


def _rights(entry: Entry) -> str:
    names = ("outer_hooks", "host_privileges", "accept_findings")
    return ", ".join(name for name in names if getattr(entry, name, False))


def _state(entry: Entry) -> str:
    import time

    until = f"until {entry.until}" if entry.until else "valid"
    return entry.ended(time.time()) or until
