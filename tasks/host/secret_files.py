"""Secrets that settings name a file for: passwords and passphrases."""

from __future__ import annotations

from pathlib import Path

from tasks.errors import BadInput, why_unreadable


def secret_in(setting: str, file: str, what: str) -> str:
    """The secret `what`, the first line of the file that `setting` names; `BadInput` if there is
    none."""
    try:
        line = Path(file).read_text().partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"cannot read {what} from {file}: {why_unreadable(error)}",
            f"set {setting} to a file that this user can read",
        ) from error
    if not line:
        raise BadInput(f"{file} is empty: it has not {what}", "put it in the first line")
    return line
