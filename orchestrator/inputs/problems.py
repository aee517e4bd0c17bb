"""What is wrong in the `inputs:` of a batch. Pure: nothing is fetched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from urllib.parse import SplitResult, urlsplit

from orchestrator.formats.batchfile import Batchfile, BatchInput
from orchestrator.formats.reader import Document
from tasks.errors import Problem

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
URL = re.compile(r"[a-z]+://[!-~]+")
HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]*)(:[0-9]{1,5})?")
REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+-]{0,199}")
PART = re.compile(r"[A-Za-z0-9._+-]+")
SCHEMES = ("https", "ssh", "http", "git", "file")
WHERE = "such as https://git.example.org/stages.git or ssh://git@git.example.org/stages.git"


def input_problems(document: Document[Batchfile]) -> list[Problem]:
    """What is wrong in the `inputs:` of a batch."""
    found, paths = [], set()
    for name, one in document.value.inputs.items():
        for key, message, hint in _wrong(name, one):
            found.append(document.problem(f"inputs.{name}{key}", message, hint))
        if (path := path_of(name, one)) in paths:
            message = f"another input is at {path!r} too"
            found.append(document.problem(f"inputs.{name}.path", message))
        paths.add(path)
    return found


def path_of(name: str, one: BatchInput) -> str:
    """Where the files of an input are, below the batch's folder; `.` for the folder itself."""
    return str(PurePosixPath(one.path or name))


def _wrong(name: str, one: BatchInput) -> Iterator[tuple[str, str, str]]:
    if not NAME.fullmatch(name):
        hint = "small letters, digits and `_`, so that templates can use it"
        yield "", f"{name!r} cannot be the name of an input", hint
    if message := _wrong_url(one.git):
        yield ".git", message, WHERE
    if not REF.fullmatch(one.ref) or ".." in one.ref or one.ref.endswith((".lock", "/")):
        hint = "a branch, a tag, or the 40 digits of a commit"
        yield ".ref", f"{one.ref!r} is not the name of a branch, tag or commit", hint
    if not _is_below(path_of(name, one)):
        hint = "a relative path such as `stages`, or `.`"
        yield ".path", f"{one.path!r} is not a folder within the batch's folder", hint


def _wrong_url(text: str) -> str:
    """What is wrong with the URL. It is signed and published with what is built from it, so it may
    hold no secret; git must not take a part of it for an option."""
    try:
        url = urlsplit(text)
    except ValueError:
        return "not a URL"
    if not URL.fullmatch(text) or url.scheme not in SCHEMES:
        return f"not a URL that begins with {', '.join(f'{one}://' for one in SCHEMES)}"
    user, _, place = url.netloc.rpartition("@")
    if url.password is not None or (user and url.scheme != "ssh"):
        return "a URL with a password or token would be published; use git_config_file"
    if not _is_place(url, place) or user.startswith("-"):
        return "not a URL with the name of a server"
    return ""


def _is_place(url: SplitResult, place: str) -> bool:
    if url.scheme == "file":
        return not place and url.path.startswith("/")
    return bool(HOST.fullmatch(place))


def _is_below(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return all(PART.fullmatch(part) and part != ".." and part.lower() != ".git" for part in parts)
