"""Settings: from variables over a file, and what is said of those that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.errors import BadInput
from tasks.settings import load


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "stagefarm.toml"


def test_variables_win_over_the_file(file: Path) -> None:
    file.write_text('host = "one"\nlease_s = 60\n')
    found = load({"STAGEFARM_HOST": "two", "STAGEFARM_SETTINGS": str(file), "HOST": "no"})
    assert (found.host, found.lease_s, found.scan_s) == ("two", 60.0, 10.0)


def test_an_empty_name_of_a_file_is_none() -> None:
    assert load({"STAGEFARM_SETTINGS": ""}).scan_s == 10


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('lease_s = "abc"', "lease_s: expected `float`, got `str`"),
        ("heartbeat_s = 0", "heartbeat_s: expected `float` > 0.0"),
        ("scan_s = nan", "scan_s: expected `float` > 0.0"),
        ("stop_grace_s = -1", "stop_grace_s: expected `float` >= 0.0"),
        ("xz_level = 12", "xz_level: expected `int` <= 9"),
        ("attempts_max = 1.5", "attempts_max: expected `int`, got `float`"),
        ('rootfs = "foo"', r"rootfs: expected `str` matching regex '\^\(auto\|overlay\|plain\)"),
        ('key_prefix = ""', "key_prefix: expected `str` of length >= 1"),
        ("scan_s = 30", "lease_s is 90 and scan_s 30"),
        ('redis_ca_file = "ca.pem"', "redis_ca_file is set, but redis_url begins with redis://"),
        ('redis_cert_file = "x"', "redis_cert_file is set, but redis_url begins with redis://"),
        ('redis_url = "rediss://h"\nredis_key_file = "x"', "redis_cert_file is not"),
        ('redis_url = "rediss://h/0?ssl_cert_reqs=none"', "could turn its verification off"),
        ('redis_ulr = "x"', "unknown setting 'redis_ulr'"),
        ("[stagefarm]", "unknown setting 'stagefarm'"),
        ("no toml", "Expected '='"),
    ],
)
def test_what_cannot_be_is_told_with_its_name(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises(BadInput, match=said) as caught:
        load({}, file)
    assert caught.value.hint


def test_a_wrong_variable_is_told_by_its_own_name(file: Path) -> None:
    file.write_text("lease_s = 60")
    with pytest.raises(BadInput, match="^STAGEFARM_LEASE_S: expected `float`, got `str`$"):
        load({"STAGEFARM_LEASE_S": "soon"}, file)


def test_what_is_nearly_a_setting_is_not_overlooked(file: Path) -> None:
    with pytest.raises(BadInput, match="STAGEFARM_LEESE_S is not a setting") as caught:
        load({"STAGEFARM_LEESE_S": "4", "STAGEFARM_REDIS_PORT": "tcp://10.0.0.11:6379"})
    assert caught.value.hint == "did you mean STAGEFARM_LEASE_S?"
    file.write_text("leese_s = 4")
    with pytest.raises(BadInput) as caught:
        load({}, file)
    assert caught.value.hint == "did you mean lease_s?"


def test_variables_of_others_are_let_be() -> None:
    given = {"STAGEFARM_REDIS_PORT": "tcp://10.0.0.11:6379", "STAGEFARM_SERVICE_HOST": "10.0.0.11"}
    assert load(given) == load({})


def test_files_that_cannot_be_read(tmp_path: Path, file: Path) -> None:
    file.write_bytes(b"\xff\xfe")
    for place, why in ((tmp_path, "Is a directory"), (file, "not UTF-8 text")):
        with pytest.raises(BadInput, match=f"cannot read the settings in {place}: {why}"):
            load({}, place)
        with pytest.raises(BadInput, match=f"cannot read the Redis password from {place}: {why}"):
            load({"STAGEFARM_REDIS_PASSWORD_FILE": str(place)}).broker_url()
    with pytest.raises(BadInput, match="no such settings file"):
        load({"STAGEFARM_SETTINGS": str(tmp_path / "none")})


def test_the_password_is_the_first_line_of_its_file(file: Path) -> None:
    file.write_text("se cr:et@/\nmore\n")
    given = {
        "STAGEFARM_REDIS_URL": "redis://u:old@h:1/2",
        "STAGEFARM_REDIS_PASSWORD_FILE": str(file),
    }
    assert load(given).broker_url() == "redis://u:se%20cr%3Aet%40%2F@h:1/2"
    file.write_text("\n")
    with pytest.raises(BadInput, match="has not the Redis password"):
        load(given).broker_url()


def test_tls_is_verified_and_needs_no_file() -> None:
    assert load({}).broker_tls() == {}
    verified = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
    url = {"STAGEFARM_REDIS_URL": "rediss://h:1/0"}
    assert load(url).broker_tls() == verified
    found = load({**url, "STAGEFARM_REDIS_CA_FILE": "ca", "STAGEFARM_REDIS_CERT_FILE": "cert"})
    assert found.broker_tls() == {"ssl_ca_certs": "ca", "ssl_certfile": "cert", **verified}
