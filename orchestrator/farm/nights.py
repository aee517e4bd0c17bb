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

from orchestrator.farm.choosing import Rules, choose
from orchestrator.farm.contracts import find_orders
from orchestrator.farm.orders import by_latest
from orchestrator.farm.seed_versions import SeedVersions
from orchestrator.farm.signing import sign_all
from orchestrator.farm.submit import bring_contexts, is_blocked
from orchestrator.inputs.freezing import Frozen, frozen
from orchestrator.nights.files import ScheduleFile
from orchestrator.nights.slots import Slot, coming, night_id
from orchestrator.planning.batch_plan import plan_batch
from tasks.ledger.builds import Ledger
from tasks.ledger.order import Order
from tasks.ledger.schedules import Schedules
from tasks.ledger.stages import StageState
from tasks.model import Build
from tasks.settings import Settings
from tasks.worker.messages import send


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """A night with its builds, signed, before it is in the ledger. `slot` is 0 for one that is made
    by hand, and `stages` are also those that are left out."""

    schedule: str
    id: str
    slot: int
    builds: tuple[Build, ...]
    signatures: dict[str, str]
    orders: dict[str, Order]
    stages: tuple[StageState, ...]


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
    seeds = SeedVersions()
    with frozen(file.path, settings) as found:
        source = found or Frozen(file.path.parent, ())

        def planned(now: datetime) -> list[Build]:
            builds = plan_batch(
                file.path,
                overrides={},
                now=now,
                batch_id=night,
                folder=source.folder,
                inputs=source.inputs,
            )
            return seeds.pin(builds) if file.pin_seeds else builds

        brought = bring_contexts(planned(at), ledger, settings)
        choice = choose(
            brought,
            _rules(file, at, is_by_hand=not slot),
            planned,
            at=at.timestamp(),
            seeds=seeds,
            ledger=ledger,
            settings=settings,
        )
    orders = find_orders(choice.builds, ledger, settings)
    builds, signatures = sign_all(by_latest(choice.builds, orders), settings)
    return Night(
        schedule=file.name,
        id=night,
        slot=slot,
        builds=tuple(builds),
        signatures=signatures,
        orders=orders,
        stages=choice.stages,
    )


def _rules(file: ScheduleFile, at: datetime, *, is_by_hand: bool) -> Rules:
    """What the night at `at` leaves out; nothing if a person makes it."""
    (following,) = coming(file.lines, at, 1)
    if is_by_hand:
        return Rules(schedule=file.name, next=following.seconds)
    return Rules(
        schedule=file.name,
        unchanged=file.unchanged,
        failures=file.failures,
        next=following.seconds,
    )


def make(night: Night, ledger: Ledger, app: Celery) -> bool:
    """Submit the night; False if another has made it."""
    schedules = Schedules(ledger.connection)
    if not schedules.make_night(
        night.schedule,
        night.slot,
        night.id,
        night.builds,
        night.signatures,
        night.orders,
        night.stages,
    ):
        return False
    with app.producer_or_acquire() as producer:
        for build in night.builds:
            if not is_blocked(build, ledger):
                send(app, build, 1, producer=producer)
    return True
