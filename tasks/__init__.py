"""The mechanism of stagefarm: runs builds on a host, as root.

Nothing here reads YAML, renders templates or has a command line, and nothing here imports
`orchestrator`. The Celery app is made on first use, so that importing a wire type is cheap.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery

__version__ = "0.2.0"


def __getattr__(name: str) -> "Celery":
    """The app for `celery -A tasks`; Celery is imported only when it is used (PEP 562)."""
    if name == "celery":
        from tasks.app import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
