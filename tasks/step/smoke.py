"""The tests that every stage can be put to: small, quick, without a network, and only of what the
stage has. Each says why it does not apply, or yields what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tasks.model import SmokeTest
from tasks.step.stage import Packed, Stage


@dataclass(frozen=True, slots=True)
class Smoke:
    """`inapplicable` is the reason to skip the test, empty if there is none; `problems` yields what
    is wrong with the stage."""

    inapplicable: Callable[[Packed], str]
    problems: Callable[[Stage], Iterator[str]]


# Shell


def _has_no_shell(stage: Packed) -> str:
    return "" if stage.has("sh") or stage.has("bash") else "the stage has no shell"


def _shell(stage: Stage) -> Iterator[str]:
    for shell in ("sh", "bash"):
        if stage.has(shell):
            yield from stage.failing(shell, "-lc", "true")


# Package manager


@dataclass(frozen=True, slots=True)
class Manager:
    """A package manager that is there if its `database` is, or else if its program is. Its first
    command may print nothing, with `silent`."""

    commands: tuple[tuple[str, ...], ...]
    databases: tuple[str, ...] = ()
    silent: bool = False

    @property
    def program(self) -> str:
        return self.commands[0][0]

    def is_in(self, stage: Packed) -> bool:
        if self.databases:
            return any(stage.has_file(path) for path in self.databases)
        return stage.has(self.program)


MANAGERS = (
    Manager(
        (("dpkg", "--audit"), ("apt-get", "-o", "Debug::NoLocking=1", "check")),
        ("/var/lib/dpkg/status",),
        silent=True,
    ),
    Manager(
        (("rpm", "--verifydb"), ("rpm", "-Va", "--nofiles")),
        ("/usr/lib/sysimage/rpm/rpmdb.sqlite", "/var/lib/rpm/rpmdb.sqlite"),
    ),
    Manager((("apk", "info"),), ("/lib/apk/db/installed", "/usr/lib/apk/db/installed")),
    Manager((("pacman", "-Dk"),)),
    Manager((("portageq", "vdb_path"),)),
    Manager((("anise", "--version"),)),
)


def _has_no_manager(stage: Packed) -> str:
    found = any(manager.is_in(stage) for manager in MANAGERS)
    return "" if found else "the stage has no package manager that this test knows"


def _package_manager(stage: Stage) -> Iterator[str]:
    for manager in (manager for manager in MANAGERS if manager.is_in(stage)):
        if not stage.has(manager.program):
            yield f"the stage has the database of {manager.program}, but not the program"
            continue
        first, *more = manager.commands
        ran = stage.run(*first)
        if ran.code or (manager.silent and ran.printed):
            yield f"`{' '.join(first)}`: {ran.last_words}"
        for command in more:
            if stage.has(command[0]):
                yield from stage.failing(*command)


# Users


def _has_no_users(stage: Packed) -> str:
    if not stage.has_file("/etc/passwd"):
        return "the stage has no /etc/passwd"
    return "" if stage.has("getent") or stage.has("id") else "the stage has neither getent nor id"


def _user_database(stage: Stage) -> Iterator[str]:
    if stage.has("getent"):
        yield from stage.failing("getent", "passwd", "root")
        yield from stage.failing("getent", "group", "root")
    else:
        yield from stage.failing("id", "root")
    for check in ("pwck", "grpck"):
        if stage.has(check) and stage.has_file("/etc/shadow"):
            yield from stage.failing(check, "-r", "-q")


# Name service

NSSWITCH = "/etc/nsswitch.conf"
DATABASES = ("passwd", "group", "hosts")
WITHIN_LIBC = ("files", "dns")
"""Services that are no libraries of their own since glibc 2.34. `getent` tests them."""


def _has_no_name_service(stage: Packed) -> str:
    return "" if stage.has("getent") else "the stage has no getent"


def _name_service(stage: Stage) -> Iterator[str]:
    if "localhost" in stage.text("/etc/hosts"):
        yield from stage.failing("getent", "hosts", "localhost")
    for service in _services(stage.text(NSSWITCH)):
        library = f"libnss_{service}.so.2"
        for problem in stage.failing(
            "getent", "--version", quiet=True, variables={"LD_PRELOAD": library}
        ):
            yield f"{NSSWITCH} names {service}, whose library cannot be loaded: {problem}"


def _services(text: str) -> Iterator[str]:
    """What `passwd: files systemd [NOTFOUND=return]` and its like name, without repetition."""
    named: dict[str, None] = {}
    for line in text.splitlines():
        database, found, words = line.partition("#")[0].partition(":")
        if found and database.strip() in DATABASES:
            named |= dict.fromkeys(re.findall(r"[a-z0-9_]+", re.sub(r"\[.*?\]", " ", words)))
    yield from (name for name in named if name not in WITHIN_LIBC)


# Libraries

CACHE, CONFIGURATION = "/etc/ld.so.cache", "/etc/ld.so.conf"


def _has_no_cache(stage: Packed) -> str:
    found = stage.has_file(CACHE) or stage.has_file(CONFIGURATION)
    return "" if found else f"the stage has neither {CACHE} nor {CONFIGURATION}"


def _ldconfig(stage: Stage) -> Iterator[str]:
    if not stage.has("ldconfig"):
        yield f"the stage has {CONFIGURATION} or {CACHE}, but no ldconfig"
        return
    if not stage.has_file(CACHE):
        yield f"{CACHE} is missing"
        return
    before = stage.run("ldconfig", "-p")
    yield from stage.failing("ldconfig", "-X")
    after = stage.run("ldconfig", "-p")
    for ran in (before, after):
        if ran.code:
            yield f"`ldconfig -p` exited with {ran.code}: {ran.last_words}"
    if changed := sorted({*before.printed[1:]} ^ {*after.printed[1:]}):
        of = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        yield f"{CACHE} does not match the libraries: {changed[0].strip()}{of}"


# Locale

SET_IN: Mapping[str, str] = {
    "/etc/locale.conf": "LANG",
    "/etc/default/locale": "LANG",
    "/etc/env.d/02locale": "LANG",
}


def _has_no_locales(stage: Packed) -> str:
    return "" if stage.has("locale") else "the stage has no program `locale`"


def _locale(stage: Stage) -> Iterator[str]:
    yield from stage.failing("locale", "-a")
    for file, variable in SET_IN.items():
        text = stage.text(file)
        if found := re.search(rf"(?m)^\s*(?:export\s+)?{variable}=[\"']?([\w.@-]+)", text):
            for problem in stage.failing("locale", quiet=True, variables={"LC_ALL": found[1]}):
                yield f"{file} sets {variable}={found[1]}, which cannot be used: {problem}"


SMOKES: Mapping[SmokeTest, Smoke] = {
    SmokeTest.SHELL: Smoke(_has_no_shell, _shell),
    SmokeTest.PACKAGE_MANAGER: Smoke(_has_no_manager, _package_manager),
    SmokeTest.USER_DATABASE: Smoke(_has_no_users, _user_database),
    SmokeTest.NAME_SERVICE: Smoke(_has_no_name_service, _name_service),
    SmokeTest.LDCONFIG: Smoke(_has_no_cache, _ldconfig),
    SmokeTest.LOCALE: Smoke(_has_no_locales, _locale),
}
