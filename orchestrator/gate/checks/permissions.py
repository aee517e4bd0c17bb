"""Who may do what: setuid, setgid, capabilities, owners, devices, files that all may write."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from orchestrator.gate.checks.faults import Fault
from orchestrator.gate.checks.subject import Case, Stage
from orchestrator.gate.checks.tree import parent_of
from orchestrator.gate.findings import Finding
from tasks.inspection.inventory import Entry, Kind

SETUID, SETGID, STICKY, ALL_WRITE = 0o4000, 0o2000, 0o1000, 0o0002
_FILES = (Kind.FILE, Kind.HARD_LINK)
_DEVICES = (Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE)


def setuid(case: Case) -> Iterator[Finding]:
    """Programs that got or lost the setuid bit, or have another user with it."""
    yield from _of_bit(case, SETUID, "the setuid bit")


def setgid(case: Case) -> Iterator[Finding]:
    """The same for the setgid bit and the group, of programs and folders."""
    yield from _of_bit(case, SETGID, "the setgid bit")


def _of_bit(case: Case, bit: int, word: str) -> Iterator[Finding]:
    def owner(stage: Stage, entry: Entry | None) -> str:
        if not entry or not entry.mode & bit or entry.kind not in (*_FILES, Kind.FOLDER):
            return ""
        user, _, group = stage.owner(entry).partition(":")
        return user if bit == SETUID else group

    yield from _changes(case, owner, _mode, word)


def capabilities(case: Case) -> Iterator[Finding]:
    """Files whose capabilities are others than published."""

    def text(_: Stage, entry: Entry | None) -> str:
        return capabilities_of(entry) if entry else ""

    yield from _changes(case, text, text, "file capabilities")


def _changes(
    case: Case,
    key: Callable[[Stage, Entry | None], str],
    shown: Callable[[Stage, Entry | None], str],
    word: str,
) -> Iterator[Finding]:
    """A finding for each path whose `key` is not as published, with both as `shown`."""
    if not case.published:
        return
    before, after = case.published, case.candidate
    olds, news = before.inventory.files, after.inventory.files
    for path in sorted(olds.keys() | news.keys()):
        old, new = olds.get(path), news.get(path)
        was, now = key(before, old), key(after, new)
        if was != now:
            verb = "changed" if was and now else "got" if now else "lost" if new else "is gone with"
            yield Finding(
                check="",
                path=path,
                before=shown(before, old),
                after=shown(after, new),
                message=f"{verb} {word}",
            )


def _mode(stage: Stage, entry: Entry | None) -> str:
    return f"{entry.mode & 0o7777:04o} {stage.owner(entry)}" if entry else ""


def world_writable(stage: Stage) -> Iterator[Fault]:
    """Files that everybody may write, folders in which everybody may remove what others made."""
    for path, entry in stage.inventory.files.items():
        sticky = entry.kind is Kind.FOLDER and entry.mode & STICKY
        if entry.kind in (*_FILES, Kind.FOLDER) and entry.mode & ALL_WRITE and not sticky:
            mode = f"{entry.mode & 0o7777:04o}"
            yield Fault(path=path, value=mode, message=f"everybody may write this {entry.kind}")


def unknown_owners(stage: Stage) -> Iterator[Fault]:
    """Owners without a name; what is in a folder of the same owner counts as part of it."""
    for path, entry in stage.inventory.files.items():
        folder = stage.tree.entry(parent_of(path))
        for word, number, names, of_folder in (
            ("user", entry.uid, stage.users, folder and folder.uid),
            ("group", entry.gid, stage.groups, folder and folder.gid),
        ):
            if number and number not in names and number != of_folder:
                message = f"belongs to {word} {number}, which the stage does not name"
                yield Fault(path=path, value=f"{word} {number}", message=message)


USUAL_DEVICES = {
    **{f"/dev/{name}": f"1:{number}" for name, number in (
        ("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9), ("kmsg", 11),
    )},
    **{f"/dev/{name}": f"5:{number}" for name, number in (("tty", 0), ("console", 1), ("ptmx", 2))},
    **{f"/dev/tty{number}": f"4:{number}" for number in range(64)},
    "/dev/fuse": "10:229",
    "/dev/net/tun": "10:200",
}  # fmt: skip
"""Linux's Documentation/admin-guide/devices.txt: what a system needs before udev runs, or in a
container."""


def device_nodes(stage: Stage) -> Iterator[Fault]:
    for path, entry in stage.inventory.files.items():
        usual = entry.kind is Kind.CHARACTER_DEVICE and USUAL_DEVICES.get(path) == entry.content
        if entry.kind in _DEVICES and not usual:
            value = f"{entry.kind} {entry.content}"
            yield Fault(path=path, value=value, message=f"an unusual device: {value}")


def special_files(stage: Stage) -> Iterator[Fault]:
    for path, entry in stage.inventory.files.items():
        if entry.kind is Kind.FIFO:
            yield Fault(path=path, value="fifo", message="a named pipe, which no stage needs")


# File capabilities, as linux/capability.h has them in the attribute `security.capability`

CAPABILITIES = tuple(
    """
    chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable
    net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio
    sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config
    mknod lease audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm
    block_suspend audit_read perfmon bpf checkpoint_restore
    """.split()  # noqa: SIM905
)
"""In the order of their numbers."""

_EFFECTIVE = 1
_WORDS = {1: 1, 2: 2, 3: 2}
"""How many pairs of words each revision has; the third has a user ID after them."""


def capabilities_of(entry: Entry) -> str:
    """The file's capabilities as setcap(8) reads them; empty if it has none."""
    for name, value in entry.xattrs:
        if name.endswith("security.capability"):
            return _decoded(value.encode("utf-8", "surrogateescape"))
    return ""


def _decoded(data: bytes) -> str:
    try:
        (head,) = struct.unpack_from("<I", data)
        count = _WORDS[head >> 24]
        words = struct.unpack_from(f"<{2 * count}I", data, 4)
        (root,) = struct.unpack_from("<I", data, 20) if head >> 24 == 3 else (0,)
    except (struct.error, KeyError):
        return f"unreadable: {data[:32].hex()}"
    permitted = sum(word << (32 * number) for number, word in enumerate(words[::2]))
    inheritable = sum(word << (32 * number) for number, word in enumerate(words[1::2]))
    groups: dict[str, list[str]] = {}
    for number in range(64):
        is_permitted, is_inheritable = permitted >> number & 1, inheritable >> number & 1
        is_effective = head & _EFFECTIVE and (is_permitted or is_inheritable)
        flags = "e" * bool(is_effective) + "i" * is_inheritable + "p" * is_permitted
        if flags:
            known = number < len(CAPABILITIES)
            groups.setdefault(flags, []).append(
                f"cap_{CAPABILITIES[number]}" if known else str(number)
            )
    text = " ".join(f"{','.join(names)}={flags}" for flags, names in groups.items())
    return (text or "none") + (f" [rootid={root}]" if root else "")
