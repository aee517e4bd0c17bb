"""Makes one night of a schedule: a batch whose id is its slot, submitted once.

Everything that can fail comes first: fetching, planning, bundling, signing. Then one script of the
ledger adds all builds of the night, unless somebody else has. So whoever dies on the way leaves no
half of a night: there is nothing of it, and the next one makes it, or it is complete, and the
supervisor sends the messages that are missing, as for every build.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from celery import Celery

from orchestrator.farm.contracts import find_orders
from orchestrator.farm.orders import by_latest
from orchestrator.farm.signing import sign_all
from orchestrator.farm.submit import bring_contexts, is_blocked
from orchestrator.inputs.freezing import Frozen, frozen
from orchestrator.nights.files import ScheduleFile
from orchestrator.nights.slots import Slot, night_id
from orchestrator.planning.batch_plan import plan_batch
from tasks.ledger.builds import Ledger
from tasks.ledger.order import Order
from tasks.ledger.schedules import Schedules
from tasks.model import Build
from tasks.settings import Settings
from tasks.worker.messages import send


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """A night with its builds, signed, before it is in the ledger. `slot` is 0 for one that is made
    by hand."""

    schedule: str
    id: str
    slot: int
    builds: tuple[Build, ...]
    signatures: dict[str, str]
    orders: dict[str, Order]


def prepare_slot(file: ScheduleFile, slot: Slot, ledger: Ledger, settings: Settings) -> Night:
    """The night of a slot: as if submitted at that moment, from the folder of its file."""
    return _prepare(file, slot.at, slot.seconds, ledger, settings)


def prepare_now(file: ScheduleFile, now: datetime, ledger: Ledger, settings: Settings) -> Night:
    """A night by hand, besides those that are due."""
    at = now.astimezone(ZoneInfo(file.lines[0].timezone)).replace(microsecond=0)
    return _prepare(file, at, 0, ledger, settings)


def _prepare(
    file: ScheduleFile, at: datetime, slot: int, ledger: Ledger, settings: Settings
) -> Night:
    night = night_id(file.batch, at)
    with frozen(file.path, settings) as found:
        source = found or Frozen(file.path.parent, ())
        planned = plan_batch(
            file.path,
            overrides={},
            now=at,
            batch_id=night,
            folder=source.folder,
            inputs=source.inputs,
        )
        brought = bring_contexts(planned, ledger, settings)
    orders = find_orders(brought, ledger, settings)
    builds, signatures = sign_all(by_latest(brought, orders), settings)
    return Night(
        schedule=file.name,
        id=night,
        slot=slot,
        builds=tuple(builds),
        signatures=signatures,
        orders=orders,
    )


def make(night: Night, ledger: Ledger, app: Celery) -> bool:
    """Submit the night; False if another has made it."""
    schedules = Schedules(ledger.connection)
    if not schedules.make_night(
        night.schedule, night.slot, night.id, night.builds, night.signatures, night.orders
    ):
        return False
    with app.producer_or_acquire() as producer:
        for build in night.builds:
            if not is_blocked(build, ledger):
                send(app, build, 1, producer=producer)
    return True
