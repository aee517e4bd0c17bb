"""Cancelled at every step boundary, and inside every kind of step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.ledger import Cancel
from tasks.model import Build, BuildState, HookType, Source, SourceType
from tests.farm import Farm, processes_with
from tests.farm_builds import hook
from tests.waiting import eventually
from tests.webserver import *  # noqa: F403

pytestmark = [pytest.mark.redis, pytest.mark.root]
Settled = Callable[..., None]
