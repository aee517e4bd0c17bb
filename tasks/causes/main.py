"""The process that reads one log: its standard input. Prints the cause as JSON, `null` for none.

`python -m tasks.causes.main FOLDER ERROR REASON`: the folder of rules of one's own, and the error
that ended the build. Started by `tasks.causes.launcher`, which bounds it.
"""

from __future__ import annotations

import sys

import msgspec

from tasks.causes.log import read_tail
from tasks.causes.reader import find_cause
from tasks.causes.rules import usable_rules


def _complain(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main() -> None:
    folder, error, reason = sys.argv[1:]
    rules = usable_rules(folder, _complain)
    found = find_cause(read_tail(sys.stdin.buffer), rules, error=error, reason=reason)
    sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")


if __name__ == "__main__":
    main()
