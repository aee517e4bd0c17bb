"""Chromium without a screen: the text of pages as a person reads it, and pictures of them."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from html import unescape
from pathlib import Path

QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--virtual-time-budget=6000",
)  # fmt: skip
TAG = re.compile(r"<[^>]+>")


@dataclass
class Browser:
    """Chromium on the pages below `url`."""

    url: str
    profile: Path
    pictures: Path
    size: tuple[int, int] = (1900, 700)
    is_dark: bool = False

    def text(self, page: str) -> str:
        """What the page shows once its scripts have run."""
        return unescape(TAG.sub(" ", self.dom(page)))

    def rows(self, page: str) -> list[str]:
        """The rows of the page's table."""
        rows = re.findall(r"<tr.*?</tr>", self.dom(page), re.DOTALL)
        return [" ".join(unescape(TAG.sub(" ", row)).split()) for row in rows]

    def dom(self, page: str) -> str:
        """The page as HTML, once its scripts have run."""
        return self._chromium(page, "--dump-dom")

    def picture(self, page: str, name: str) -> Path:
        picture = self.pictures / f"{name}.png"
        self._chromium(page, f"--screenshot={picture}")
        assert picture.stat().st_size > 5000
        return picture

    def _chromium(self, page: str, what: str) -> str:
        looks = (
            "--window-size={},{}".format(*self.size),
            f"--blink-settings=preferredColorScheme={0 if self.is_dark else 1}",
        )
        words = ["chromium", *QUIET, *looks, f"--user-data-dir={self.profile}", what]
        return subprocess.run(
            [*words, f"{self.url}/{page}"], capture_output=True, text=True, check=True, timeout=90
        ).stdout


def pictures_in(folder: Path) -> Path:
    """The folder in $STAGEFARM_SCREENSHOTS, or one in `folder`."""
    pictures = Path(os.environ.get("STAGEFARM_SCREENSHOTS", folder / "screenshots"))
    pictures.mkdir(parents=True, exist_ok=True)
    return pictures
