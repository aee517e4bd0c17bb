"""What a build host does: the mechanism of stagefarm, run as root.

Nothing here reads YAML, renders templates or has a command line, and nothing here imports
`orchestrator`. The Celery app is made on first use, so that importing a wire type costs nothing.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery

__version__ = "0.1.0"


def __getattr__(name: str) -> "Celery":
    """Give `celery -A tasks` its app without importing Celery for everyone else (PEP 562)."""
    if name == "celery":
        from tasks.app import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
