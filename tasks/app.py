"""The Celery app and its configuration.

Messages are hints; the ledger is the truth. So a message is acknowledged when it is received (a
late acknowledgement runs a step twice after the visibility timeout, or when a connection drops), no
result is stored (nothing would read it), and builds of lost hosts are recovered from the ledger.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery import Celery

from tasks.settings import REDIS_HEALTH_CHECK_S, REDIS_TIMEOUT_S, Settings, current

PRIORITIES = 10
"""Number of the Redis transport's priorities; it reads all queues of one before the next."""


def make_app(settings: Callable[[], Settings]) -> Celery:
    """The app of one farm; the settings are read when its configuration is first used."""
    app = Celery("stagefarm")
    app.add_defaults(lambda: configuration(settings()))
    return app


def configuration(settings: Settings) -> dict[str, Any]:
    return {
        "broker_url": settings.broker_url(),
        "broker_use_ssl": settings.broker_tls() or None,
        "broker_transport_options": {
            "global_keyprefix": f"{settings.key_prefix}:celery:",
            "priority_steps": list(range(PRIORITIES)),
            "queue_order_strategy": "priority",
            "socket_timeout": REDIS_TIMEOUT_S,
            "socket_connect_timeout": REDIS_TIMEOUT_S,
            "socket_keepalive": True,
            "health_check_interval": REDIS_HEALTH_CHECK_S,
            # No `retry_on_timeout`: after a timeout a subscription would be read again on a new
            # connection that has not subscribed, and the worker's loop would wait forever.
        },
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # Forever: the result of a step is worth more than a free slot while Redis is down.
        "task_publish_retry_policy": {
            "max_retries": None,
            "interval_start": 0.2,
            "interval_step": 0.5,
            "interval_max": 5.0,
        },
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_acks_late": False,
        "task_ignore_result": True,
        "task_send_sent_event": True,
        "task_default_queue": "noarch.generic",
        "worker_disable_prefetch": True,  # else a busy host reserves a message others could take
        "worker_prefetch_multiplier": 1,
        "worker_send_task_events": True,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "imports": ("tasks.worker.celery_tasks", "tasks.worker.startup"),
    }


app = make_app(current)
