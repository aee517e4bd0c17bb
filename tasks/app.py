"""The Celery app and its configuration."""

from celery import Celery

app = Celery("stagefarm")
