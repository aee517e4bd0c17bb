"""The gate of a release as this machine keeps it: its policy, its waivers, its holds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from orchestrator.formats.reader import Document
from orchestrator.formats.releasefile import Releasefile, TargetKind, name_of
from orchestrator.gate.gatekeeper import Gatekeeper
from orchestrator.gate.history import SizeHistory
from orchestrator.gate.holds import Holds
from orchestrator.gate.notifying import Notifier
from orchestrator.gate.policy import Policy, load_policy
from orchestrator.gate.waivers import Accepters, Waivers, read_waivers, waivers_file
from orchestrator.release.facts import Fact, Facts
from orchestrator.release.gating import Gate
from orchestrator.release.known import Known
from tasks.errors import BadInput
from tasks.inspection.stored import Inventories
from tasks.reporting import Report
from tasks.settings import Settings
from tasks.trust.keys import PrivateKey
from tasks.trust.policy import release_key, trust_of

BUILD_PATHS = (b"/var/lib/stagefarm/builds/", b"/workspace/rootfs/")
"""Folders of the hosts of a farm with its defaults, which no stage should name."""


def gate_of(
    document: Document[Releasefile],
    key: PrivateKey,
    settings: Settings,
    facts: Facts,
    report: Report,
    say: Callable[[str], object],
) -> Gate | None:
    """The gate that the release file names, None if it names none; `BadInput` with all that is
    wrong in its gate file."""
    if not document.value.gate:
        return None
    policy = policy_of(document)
    return Gate(
        keeper=gatekeeper_of(policy, _folder(document, settings), settings, facts, report),
        waivers=lambda now: waivers_of(document, settings, now, key),
        holds=holds_of(document, settings, policy),
        notifier=Notifier(name_of(document), Path(document.file), policy.urls),
        key=key,
        say=say,
    )


def policy_of(document: Document[Releasefile]) -> Policy:
    """The policy that the release file names; `BadInput` if it names none."""
    if not document.value.gate:
        raise BadInput(f"{document.file} has no gate", "such as `gate: gate.yaml`: docs/gate.md")
    return load_policy(Path(document.file).absolute().parent / document.value.gate)


def gatekeeper_of(
    policy: Policy, folder: Path, settings: Settings, facts: Facts, report: Report
) -> Gatekeeper:
    """Who judges by the policy; `folder` has what is known of the release."""

    def remember(key: bytes, compute: Callable[[], bytes]) -> bytes:
        return facts.of_content(key, Fact("findings of the gate", lambda _: compute()))

    paths = tuple(dict.fromkeys((f"{settings.state}/builds/".encode(), *BUILD_PATHS)))
    return Gatekeeper(
        policy=policy,
        inventories=Inventories(Known.of(settings).folder / "inventories", build_paths=paths),
        build_paths=paths,
        remember=remember,
        history=SizeHistory(folder / "sizes"),
        report=report,
    )


def gatekeeper_alone(policy: Policy, settings: Settings, report: Report) -> Gatekeeper:
    """Who judges by the policy, whatever is published."""
    folder = Known.of(settings).folder
    return gatekeeper_of(policy, folder / "gates/none", settings, Facts(folder / "facts"), report)


def holds_of(
    document: Document[Releasefile], settings: Settings, policy: Policy | None = None
) -> Holds:
    """The holds of the release that were noted on this machine."""
    return Holds(
        file=_folder(document, settings) / "holds.json",
        reminder_s=policy.rules.hold_reminder if policy else 0.0,
        tells=bool(policy and policy.urls),
    )


def waivers_of(
    document: Document[Releasefile],
    settings: Settings,
    now: float,
    key: PrivateKey | None = None,
) -> Waivers:
    """The waivers beside the release file, by whom this machine trusts, or who has its `key`."""
    accepters = Accepters(
        release=name_of(document),
        channel=document.value.channel,
        trust=trust_of(settings),
        own=(key.public,) if key else (),
    )
    return read_waivers(waivers_file(Path(document.file)), accepters, now)


def own_key(document: Document[Releasefile], settings: Settings) -> PrivateKey | None:
    """The release's key, None if it is not on this machine."""
    named = document.value.key
    try:
        return release_key(
            settings, Path(document.file).absolute().parent / named if named else None
        )
    except BadInput:
        return None


def _folder(document: Document[Releasefile], settings: Settings) -> Path:
    """Where this machine keeps what it knows of the release's gate: named by the release, its
    channel and its first mirror, as others may have the same name."""
    target = document.value.targets[0]
    to = target.to
    if target.kind is TargetKind.FOLDER:
        to = str((Path(document.file).absolute().parent / to).resolve())
    name = f"{name_of(document)}#{document.value.channel}@{to}"
    digest = hashlib.sha256(name.encode()).hexdigest()[:32]
    return Known.of(settings).folder / "gates" / digest
