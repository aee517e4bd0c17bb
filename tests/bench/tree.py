"""Trees the size of a stage, the same every time: text, code and what does not compress."""

from __future__ import annotations

import os
import random
from pathlib import Path

FILES_IN_FOLDER = 40


def make_tree(root: Path, *, files: int, size_bytes: int) -> None:
    """`files` files in nested folders, about `size_bytes` in all; of every hundred some are links,
    hard links, programs, or have an extended attribute. Most are small and few are large."""
    dice = random.Random(files)
    pool = _pool(dice)
    average = size_bytes / files
    folder = last = root
    for number in range(files):
        if number % FILES_IN_FOLDER == 0:
            folder = root / f"d{number // 4000}" / f"d{number // FILES_IN_FOLDER}"
            folder.mkdir(parents=True)
        path = folder / f"file-{number}.{dice.choice(['so', 'h', 'py', 'mo'])}"
        kind = number % 100
        if kind >= 92:
            path.symlink_to(f"file-{number - 1}")
        elif kind == 91:
            os.link(last, path)
        else:
            _write(path, pool, dice, int(average * 1.1 * dice.lognormvariate(-1.5, 1.73)))
            path.chmod(0o755 if kind < 30 else 0o644)
            os.utime(path, ns=(0, 10**18 + number * 1_000_003))
            last = path
        if kind == 50:
            os.setxattr(path, "user.note", b"bench")


def _pool(dice: random.Random) -> bytes:
    """8 MiB that compress to about a third, as a stage does."""
    words = [
        bytes(dice.choices(b"abcdefghijklmnopqrstuvwxyz_", k=dice.randrange(2, 11)))
        for _ in range(5000)
    ]
    parts = []
    size = 0
    while size < 8 << 20:
        part = b" ".join(dice.choices(words, k=200)) if dice.random() < 0.8 else dice.randbytes(600)
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _write(path: Path, pool: bytes, dice: random.Random, size: int) -> None:
    with path.open("wb") as file:
        while size > 0:
            start = dice.randrange(len(pool))
            piece = pool[start : start + min(size, dice.randrange(2000, 200_000))]
            file.write(piece)
            size -= len(piece)
