"""A stand-in for anise that behaves as the real program was seen to (`make trial-anise`).

As that does, it removes the folder of its temporary files as a call ends; takes a configuration
that it cannot read for an empty one; reads the host's repositories where the configuration does not
say otherwise; exits with 0 though a package is unknown; looks for what is installed where the
environment says; records finalizers in its database; and runs them in the root filesystem with the
/dev that it sees itself, unless it is told to skip them.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import yaml

from tasks.artifacts import boltdb as reader
from tasks.sources.finalizers import BUCKETS
from tests import boltdb

PREFIXES = ("LUET", "ANISE")
BUCKET = b"DefaultPackage"


class Gone(Exception):
    """What ends a call."""


def setting(name: str, default: str) -> str:
    found = [
        os.environ[f"{prefix}_{name}"] for prefix in PREFIXES if f"{prefix}_{name}" in os.environ
    ]
    return found[0] if found else default


class Program:
    def __init__(self, given: argparse.Namespace) -> None:
        self.config = config = read_config(given.config)
        system = config.get("system") or {}
        place = system.get("tmpdir_base", f"{tempfile.gettempdir()}/tmpluet")
        self.temporary = Path(setting("SYSTEM__TMPDIR_BASE", place))
        self.rootfs = Path(given.system_target)
        self.database = self.rootfs / "var/cache/luet/luet.db"
        packages = setting("SYSTEM__PKGS_CACHE_PATH", system.get("pkgs_cache_path", "packages"))
        self.packages = self.rootfs / "var/cache/luet" / packages
        self.repositories = {each["name"]: each for each in config.get("repositories") or []}
        for folder in config.get("repos_confdir") or ["/etc/luet/repos.conf.d"]:
            for file in sorted(Path(folder).glob("*.y*ml")):
                found = yaml.safe_load(file.read_text())
                self.repositories[found["name"]] = found
        self.temporary.mkdir(parents=True, exist_ok=True)

    # What it is told

    @contextmanager
    def lock(self) -> Iterator[None]:
        """In the root filesystem, or where its link leads to."""
        if setting("NOLOCK", "") == "true":
            yield
            return
        folder = self.rootfs / "var/lock"
        (folder.readlink() if folder.is_symlink() else folder).mkdir(parents=True, exist_ok=True)
        with (folder / "luet.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Gone("Error on lock luet.lock file. Another process is running?") from None
            yield
            (folder / "luet.lock").unlink(missing_ok=True)

    def update(self) -> None:
        for name, repository in self.repositories.items():
            folder = self.rootfs / "var/cache/luet/repos" / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "repository.yaml").write_bytes(self.fetch(repository, "repository.yaml"))
            shutil.rmtree(folder / "treefs", ignore_errors=True)
            data = self.fetch(repository, "tree.tar.gz")
            with self.temporary_file(data) as file, tarfile.open(fileobj=file) as tree:
                tree.extractall(folder / "treefs", filter="tar")

    def install(self, *names: str) -> None:
        if "--sync-repos" in sys.argv:
            self.update()
        wanted = self.resolve([name for name in names if not name.startswith("-")])
        if not wanted:
            say("No packages to install.")
        say(f"Downloading {len(wanted)} packages...")
        files = [self.download(package) for package in wanted]
        say(f"Executing {len(wanted)} packages operations...")
        for package, file in zip(wanted, files, strict=True):
            with tarfile.open(file) as tar:
                tar.extraction_filter = lambda member, _: member  # as it is, on every Python
                for member in tar:  # a folder that is not empty stays where a link should be
                    with suppress(IsADirectoryError):
                        tar.extract(member, self.rootfs)
            self.register(package)
        if "--skip-finalizers" in names:
            return
        results = [self.finalize(package) for package in wanted]
        if not all(results):
            raise Gone("Error: Something goes wrong.")

    def cleanup(self) -> None:
        for file in self.packages.glob("*"):
            file.unlink()

    def search(self) -> None:
        """Where the environment says, whatever --system-target says."""
        self.database = Path(setting("SYSTEM__ROOTFS", "/"), "var/cache/luet/luet.db")
        say(json.dumps({"stones": self.installed() or None}))

    # How it does it

    def installed(self) -> list[dict[str, Any]]:
        if not self.database.exists():
            return []
        return [json.loads(record) for record in reader.values(self.database, BUCKET)]

    def register(self, package: dict[str, Any]) -> None:
        about, packages = package["runtime"], self.installed()
        known = reader.values(self.database, *BUCKETS) if self.database.exists() else []
        finalizers = [json.loads(record) for record in known]
        if finalizer := self.finalizer(package):
            name = f"{about['name']}-{about['category']}-{about['version']}"
            finalizers.append({"ID": len(known) + 1, "PackageFingerprint": name, **finalizer})
        boltdb.write(self.database, [*packages, about], finalizers)

    def finalizer(self, package: dict[str, Any]) -> dict[str, Any]:
        file = Path(package["folder"], "finalize.yaml")
        return yaml.safe_load(file.read_text()) if file.exists() else {}

    def show_config(self) -> None:
        say(yaml.safe_dump({"logging": {"color": True}, **self.config}))

    def resolve(self, names: list[str]) -> list[dict[str, Any]]:
        """The packages to install, those that others need first; nothing for one that is
        unknown."""
        there = {f"{p['category']}/{p['name']}" for p in self.installed()}
        found: dict[str, dict[str, Any]] = {}

        def add(name: str) -> None:
            package = None if name in there or name in found else self.find(name)
            for needed in (package or {}).get("runtime", {}).get("requires") or []:
                add(f"{needed['category']}/{needed['name']}")
            if package:
                found[name] = package

        for name in names:
            add(name.partition("@")[0])
        return list(found.values())

    def find(self, name: str) -> dict[str, Any] | None:
        for repository in self.repositories:
            folder = self.rootfs / "var/cache/luet/repos" / repository / "treefs" / name
            for file in sorted(folder.glob("*/metadata.json")):
                package = json.loads(file.read_text())
                package["runtime"]["repository"] = repository
                return package | {"folder": str(file.parent)}
        return None

    def download(self, package: dict[str, Any]) -> Path:
        self.packages.mkdir(parents=True, exist_ok=True)
        file = self.packages / Path(package["path"]).name
        if not file.exists():
            data = self.fetch(self.repositories[package["runtime"]["repository"]], file.name)
            with self.temporary_file(data) as source:
                file.write_bytes(source.read())
        if hashlib.sha256(file.read_bytes()).hexdigest() != package["checksums"]["sha256"]:
            say(f"Error on download artifact {file.name}: Checksum mismatch")
            raise Gone("Error: Error on download phase.")
        return file

    def fetch(self, repository: dict[str, Any], name: str) -> bytes:
        for url in repository["urls"]:
            with suppress(OSError):
                if repository["type"] == "disk":
                    return Path(url, name).read_bytes()
                with urllib.request.urlopen(f"{url}/{name}", timeout=10) as answer:
                    return bytes(answer.read())
        raise Gone(f"Error on update repository {repository['name']}: no {name}")

    def temporary_file(self, data: bytes) -> Any:
        try:
            folder = Path(tempfile.mkdtemp(prefix="tree", dir=self.temporary))
        except FileNotFoundError as error:
            raise Gone(f"mkdir {self.temporary}/tree: no such file or directory") from error
        file = (folder / "file").open("w+b")
        file.write(data)
        file.seek(0)
        return file

    def finalize(self, package: dict[str, Any]) -> bool:
        for line in self.finalizer(package).get("install", ()):
            for name in ("dev", "proc"):
                (self.rootfs / name).mkdir(exist_ok=True)
            bound = 'mount --rbind /dev "$0/dev" && exec chroot "$0" /bin/sh -c "$1"'
            unshare = ["unshare", "--mount", "--propagation", "private"]
            argv = [*unshare, "sh", "-c", bound, str(self.rootfs), line]
            if code := subprocess.run(argv, check=False).returncode:
                name = f"{package['runtime']['category']}/{package['runtime']['name']}"
                say(f"warning Failed running finalizer for {name}: exit status {code}")
                return False
        return True


def read_config(path: str) -> dict[str, Any]:
    try:
        found = yaml.safe_load(Path(path).read_text())
        return found if isinstance(found, dict) else {}
    except (OSError, yaml.YAMLError) as error:
        say(f"DEBUG Error on reading file {path}: {error}")
        return {}


def say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--system-target")
    parser.add_argument("--config")
    parser.add_argument("--version", action="version", version="anise version 0.40.1-standin g 1")
    parser.add_argument("words", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    program = Program(given)
    command, *words = given.words
    try:
        with program.lock() if command == "install" else nullcontext():
            {
                "repo": lambda *_: program.update(),
                "install": program.install,
                "cleanup": program.cleanup,
                "search": lambda *_: program.search(),
                "config": program.show_config,
            }[command](*words)
    except Gone as gone:
        say(str(gone))
        return 1
    shutil.rmtree(program.temporary, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
