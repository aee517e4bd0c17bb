"""What a person sees in Flower, in a real browser, while a batch runs and after it.

Screenshots go to the folder in $STAGEFARM_SCREENSHOTS, or pytest's own temporary one; the test
prints which.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from tasks.model import BuildState, Hook, HookType
from tests.browser import Browser, pictures_in
from tests.farm import Farm
from tests.redis_server import RedisServer, free_port
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.usefixtures("host_unchanged")]

DASHBOARD = Path(__file__).parents[2] / "deploy/grafana/stagefarm.json"


@pytest.fixture
def farm(tmp_path: Path, seed: Path, can_isolate: None) -> Iterator[Farm]:
    if not shutil.which("chromium"):
        pytest.skip("needs chromium")
    farm = Farm(tmp_path, seed, RedisServer(tmp_path / "redis"))
    farm.redis.start()
    try:
        yield farm
    finally:
        farm.end()


@pytest.fixture
def browser(farm: Farm, tmp_path: Path) -> Browser:
    """A browser on the farm's Flower, which saw the workers come."""
    url = f"http://127.0.0.1:{free_port()}"
    farm.start(["flower", "--port", url.rpartition(":")[2]])

    def answers() -> bool:
        try:
            with urlopen(f"{url}/healthcheck") as page:
                return bool(page.status == 200)
        except OSError:
            return False

    assert eventually(answers, 60), farm.logs()
    return Browser(url, tmp_path / "profile", pictures_in(tmp_path))


def test_a_person_can_follow_a_batch_in_flower(farm: Farm, browser: Browser) -> None:
    farm.worker("east")
    farm.worker("west", "x86-64bit.haswell")
    door = farm.folder / "door"
    wait = Hook(
        name="wait",
        type=HookType.OUTER_CHROOT,
        commands=(f"until test -e {door}; do sleep 0.1; done",),
    )
    good = farm.build_of((wait,), name="stage3-good")
    bad = farm.build("exit 42", name="stage3-bad", subarch="haswell")
    farm.submit(good, bad)
    farm.wait(bad, state=BuildState.FAILED)
    farm.wait_step(good, 1)

    (running,) = [row for row in browser.rows("tasks") if "STARTED" in row]
    for word in ("stagefarm.hooks", "job=stage3-good", "arch=x86-64bit", "subarch=generic_64"):
        assert word in running
    for word in (good.id, "attempt=1", "step=2/4", "hooks.yaml", "host=east"):
        assert word in running
    during = browser.picture("tasks", "tasks-during")
    assert any("west" in row for row in browser.rows("workers")), browser.text("workers")
    browser.picture("workers", "workers-during")

    door.touch()
    farm.wait(good, state=BuildState.SUCCEEDED)
    rows = browser.rows("tasks")
    (failed,) = [row for row in rows if "FAILURE" in row]
    for word in ("stagefarm.hooks", bad.id, "subarch=haswell", "host=west"):
        assert word in failed
    assert "hook work (" in failed
    assert "exited with 42" in failed
    assert len([row for row in rows if good.id in row and "SUCCESS" in row]) == 4
    assert not [row for row in rows if "STARTED" in row]
    browser.picture("tasks", "tasks-after")
    with urlopen(f"{browser.url}/metrics") as page:
        exported = set(re.findall(r"^(flower_\w+)", page.read().decode(), re.MULTILINE))
    assert set(re.findall(r"flower_\w+", DASHBOARD.read_text())) <= exported
    print(f"screenshots: {during.parent}")
