"""Flower behind a login, over real HTTP."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.farm import Farm, processes_with
from tests.redis_server import RedisServer, free_port
from tests.waiting import eventually

pytestmark = pytest.mark.redis

PASSWORD = "correct horse, battery: staple"
PAGES = ("", "workers", "tasks", "broker", "tasks/datatable", "api/workers", "api/tasks")
OPEN = ("healthcheck", "metrics")


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    folder = tmp_path_factory.mktemp("farm")
    farm = Farm(folder, folder / "seed.tar", RedisServer(folder / "redis"))
    farm.redis.start()
    try:
        yield farm
    finally:
        farm.end()


def status(url: str, login: str = "", data: bytes | None = None) -> int:
    """The status of a page, 0 if nothing answers yet."""
    headers = {"Authorization": f"Basic {b64encode(login.encode()).decode()}"} if login else {}
    try:
        with urlopen(Request(url, data=data, headers=headers)) as page:
            return int(page.status)
    except HTTPError as error:
        return error.code
    except OSError:
        return 0


def users_file(folder: Path) -> Path:
    file = folder / "users"
    file.touch(mode=0o600)
    file.write_text(f"ada:{PASSWORD}\nbob:other\n")
    return file


def serve(farm: Farm, *options: str) -> str:
    url = f"http://127.0.0.1:{(port := free_port())}"
    farm.start(["flower", "--port", str(port), *options])
    assert eventually(lambda: status(f"{url}/healthcheck") == 200, 60), farm.logs()
    return url


@pytest.fixture(scope="module")
def url(farm: Farm) -> str:
    """Flower with two users, whatever else its folder and its environment say."""
    os.environ["FLOWER_BASIC_AUTH"] = "eve:eve"
    try:
        return serve(farm, "--auth-file", str(users_file(farm.folder)), "--address", "0.0.0.0")
    finally:
        del os.environ["FLOWER_BASIC_AUTH"]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_asks_for_a_login(url: str, page: str) -> None:
    for login in ("", "ada:wrong", f"bob:{PASSWORD}", "eve:eve", ":", "ada"):
        assert status(f"{url}/{page}", login) == 401, login
    for login in (f"ada:{PASSWORD}", "bob:other"):
        assert status(f"{url}/{page}", login) in (200, 400), login  # 400: no arguments


def test_the_browser_is_told_to_ask(url: str) -> None:
    with pytest.raises(HTTPError) as refused, urlopen(f"{url}/"):
        pass
    assert refused.value.headers["WWW-Authenticate"].startswith("Basic ")
    refused.value.close()


@pytest.mark.parametrize("page", OPEN)
def test_what_monitoring_reads_is_open(url: str, page: str) -> None:
    assert status(f"{url}/{page}") == 200


def test_a_user_can_change_nothing_without_writable(url: str) -> None:
    orders = ("api/worker/shutdown/stagefarm@one", "api/task/revoke/some")
    for order in orders:
        assert status(f"{url}/{order}", "ada:wrong", b"") == 401
        assert status(f"{url}/{order}", "bob:other", b"") == 403


def test_nobody_else_sees_the_password(url: str) -> None:
    assert processes_with("battery: staple") == {}


def test_without_users_loopback_is_open_and_the_rest_by_an_option(farm: Farm) -> None:
    assert status(f"{serve(farm)}/workers") == 200
    assert status(f"{serve(farm, '--address', '0.0.0.0', '--no-auth')}/workers") == 200
