"""The anise source, with a stand-in that behaves as the real program was seen to, or, by
`make trial-anise`, with the real one: the same tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from orchestrator.demo.seed import make_rootfs
from tasks.host.locks import lock
from tasks.model import Build, BuildState, Hook, Source, SourceType
from tests import anise
from tests.anise import Package
from tests.farm import Farm, processes_with
from tests.redis_server import RedisServer
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("can_isolate", "host_unchanged")]

BUILDS = int(os.environ.get("ANISE_BUILDS", "6"))
FINALIZER = """
echo finalized > /etc/finalized; echo was here > /dev/made-by-a-finalizer
ls /dev > /etc/devices; test ! -w /sys/power/state
"""
NOSY = """
( exec 3>> /proc/sys/kernel/core_pattern ) 2> /dev/null && exit 9
test -e /proc/self && echo contained > /etc/nosy
"""

TOLD = "test -e /etc/nosy && env | sort > /etc/told; ls /sys/class/net >> /etc/told"

SPECFILE = """
version: "1.0"
jobs:
- name: stage
  workspacedir: {folder}/work
  hooks_basedir: .
  hooks_files: [hooks.yml]
  options: {{arch: x86-64bit, subarch: generic_64, package: system/app}}
  source:
    type: anise
    anise_config: {config}
    anise_repos: [{repository}]
    anise_packages: ["{package}"]
  output: {{type: file, name: stage.tar, dir: {folder}/out}}
"""

HOOKS = """
hooks:
- name: look
  commands: ["cat /etc/app /etc/finalized", "rm -rf /etc/resolv.conf"]
"""


@dataclass
class Trial:
    """A specfile, its configuration, and the repository `main` that this one names."""

    folder: Path
    url: str
    asked: list[str] = field(default_factory=list)

    def write(
        self,
        *,
        config: str = "./anise.yaml",
        repository: str = "repository/stable",
        package: str = "system/app",
    ) -> None:
        """The specfile; its hooks and its configuration where they are not there."""
        text = SPECFILE.format(
            folder=self.folder, config=config, repository=repository, package=package
        )
        (self.folder / "stages.yaml").write_text(text)
        for name, text in (("hooks.yml", HOOKS), ("anise.yaml", self.config("main"))):
            if not (self.folder / name).exists():
                (self.folder / name).write_text(text)

    def config(self, name: str, **more: object) -> str:
        """One that names a folder of the host for temporary files, as those in the field do."""
        system = {"tmpdir_base": "/var/tmp/trial-anise"}
        return json.dumps({"repositories": [self.repository(name)], "system": system, **more})

    def repository(self, name: str) -> dict[str, object]:
        about = {"type": "http", "enable": True, "cached": True, "priority": 1}
        return {"name": name, "urls": [f"{self.url}/{name}"], **about}

    def stagefarm(
        self, *words: str, within: Sequence[str] = (), umask: int = -1
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*within, sys.executable, "-m", "orchestrator", *words],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            umask=umask,
        )

    def run(
        self, *, within: Sequence[str] = (), umask: int = -1
    ) -> subprocess.CompletedProcess[str]:
        job = ["--specfile", "stages.yaml", "--job", "stage"]
        return self.stagefarm("run", *job, within=within, umask=umask)

    def environment(self) -> dict[str, str]:
        state = {"STAGEFARM_STATE_DIR": str(self.folder / "state")}
        return os.environ | state | {"PYTHONPATH": str(anise.ROOT)}

    def listing(self) -> dict[str, str]:
        """The files of the stage, with their modes."""
        tar = subprocess.run(
            ["tar", "-tvf", self.folder / "out/stage.tar"], capture_output=True, check=True
        )
        lines = [line.split() for line in tar.stdout.decode().splitlines()]
        return {words[5]: words[0] for words in lines}

    def content(self, path: str) -> str:
        tar = ["tar", "-xOf", str(self.folder / "out/stage.tar"), path]
        return subprocess.run(tar, capture_output=True, check=True).stdout.decode()


LEFT = ("trial-anise", "tmpluet", "tmpanise", "luet", "anise.lock", "made-by-a-finalizer")


def left_on_host() -> set[str]:
    """What calls and builds could leave."""
    folders = [Path(name) for name in ("/tmp", "/var/tmp", "/dev", "/etc", "/run/lock")]
    entries = (entry for folder in folders if folder.is_dir() for entry in folder.iterdir())
    return {str(entry) for entry in entries if entry.name.startswith(LEFT)}


@pytest.fixture(scope="module")
def repositories(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, list[str]]]:
    folder = tmp_path_factory.mktemp("repositories")
    make_rootfs(folder / "seed")
    (folder / "seed/var/lock").symlink_to("/run/lock")
    base = Package(name="base", tree=folder / "seed", files={"etc/base": "base\n"})
    stable = Package(name="stable", category="repository", files={"etc/stable": "stable\n"})
    another = replace(stable, files={"etc/stable": "another\n"})
    app = Package(name="app", files={"etc/app": "app\n"}, requires=("base",), finalizer=FINALIZER)
    bad = Package(name="bad", requires=("base",), files={"etc/bad": "x"}, finalizer="exit 9")
    late = Package(name="late", requires=("base",), files={"etc/l": "x"}, finalizer="sleep 600")
    nosy = Package(name="nosy", requires=("base",), files={"etc/n": "x"}, finalizer=NOSY)
    told = Package(name="told", requires=("nosy",), files={"etc/t": "x"}, finalizer=TOLD)
    other = Package(name="other", files={"etc/other": "from the host\n"})
    with anise.serving(folder / "www") as (url, asked):
        for name, packages in (
            ("main", [stable, base, app, bad, late, nosy, told]),
            ("host", [other, another]),
        ):
            anise.make_repository(folder / "www" / name, name, packages, f"{url}/{name}")
        yield url, asked


@pytest.fixture
def trial(
    tmp_path: Path, repositories: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Trial]:
    """Nothing of a build is left afterwards: no process, no file on the host."""
    anise.install_program(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    before = left_on_host()
    url, asked = repositories
    asked.clear()
    made = Trial(tmp_path, url, asked)
    made.write()
    yield made
    assert eventually(lambda: not processes_with(str(tmp_path / "work")))
    assert left_on_host() == before
    assert not (tmp_path / "work/.stagefarm").exists()


def test_a_stage_is_built_of_packages(trial: Trial) -> None:
    done = trial.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "finalized" in done.stdout
    listing = trial.listing()
    assert {"./etc/app", "./etc/base", "./etc/stable", "./etc/finalized"} <= listing.keys()
    packages = json.loads((trial.folder / "out/stage.tar.packages.json").read_text())["packages"]
    found = [(p["category"], p["name"], p["version"], p["repository"]) for p in packages]
    assert sorted(found) == [
        ("repository", "stable", "1.0", "main"),
        ("system", "app", "1.0", "main"),
        ("system", "base", "1.0", "main"),
    ]


def test_finalizers_see_the_devices_of_the_step_and_nothing_of_the_host(trial: Trial) -> None:
    assert trial.run().returncode == 0
    devices = trial.content("./etc/devices").split()
    assert {"null", "zero", "full", "tty", "made-by-a-finalizer"} <= set(devices)
    assert not [name for name in devices if name.startswith(("sd", "vd", "loop", "nvme", "kmsg"))]
    assert not Path("/dev/made-by-a-finalizer").exists()


def test_finalizers_run_in_a_container(trial: Trial) -> None:
    trial.write(package="system/nosy")
    (trial.folder / "hooks.yml").write_text("hooks: []")
    done = trial.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert trial.content("./etc/nosy") == "contained\n"


def test_finalizers_are_told_what_the_program_tells_and_run_in_its_order(trial: Trial) -> None:
    variables = [{"key": "GREETING", "value": "good day"}, {"key": "COUNT", "value": "7"}]
    more = {"finalizer_envs": variables, "subsets": {"enabled": ["devel", "portage"]}}
    (trial.folder / "anise.yaml").write_text(trial.config("main", **more))
    trial.write(package="system/told")
    (trial.folder / "hooks.yml").write_text("hooks: []")
    done = trial.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.index("finalizer of system/nosy 1.0") < done.stdout.index(
        "finalizer of system/told 1.0"
    )
    told = trial.content("./etc/told").splitlines()
    assert {"GREETING=good day", "COUNT=7", "ANISE_SUBSETS=devel portage"} <= set(told)
    assert [line for line in told if line.startswith("ANISE_VERSION=0.4")]
    assert told[-1] == "lo"
    assert not [line for line in told if "STAGEFARM" in line or "PASSWORD" in line]


@pytest.mark.parametrize(
    ("package", "repository", "message"),
    [
        ("system/nonesuch", "repository/stable", "anise did not install system/nonesuch"),
        ("system/app", "repository/gone", "anise did not install repository/gone"),
        ("system/app@9.9", "repository/stable", "anise did not install system/app@9.9"),
        ("system/bad", "repository/stable", "the finalizer of system/bad 1.0 exited with"),
    ],
)
def test_what_is_not_installed_fails_the_source_and_is_named(
    trial: Trial, package: str, repository: str, message: str
) -> None:
    trial.write(package=package, repository=repository)
    done = trial.run()
    assert done.returncode == 1
    assert message in done.stderr
    assert "hook look" not in done.stdout
    assert not list(trial.folder.glob("out/*"))


def test_a_repository_that_cannot_be_reached_is_named(trial: Trial) -> None:
    (trial.folder / "anise.yaml").write_text(trial.config("gone"))
    done = trial.run()
    assert done.returncode == 1
    assert "`anise repo update` exited with 1: Error on update repository gone" in done.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such configuration of anise"),
        ("repositories: [\n", "anise.yaml:"),
        ("- just\n- a list\n", "no configuration of anise"),
        ("", "no configuration of anise"),
    ],
)
@pytest.mark.parametrize("command", ["run", "plan", "validate"])
def test_a_configuration_that_is_none_is_refused(
    trial: Trial, content: str | None, message: str, command: str
) -> None:
    config = trial.folder / "anise.yaml"
    config.unlink() if content is None else config.write_text(content)
    job = (
        ["stages.yaml"]
        if command == "validate"
        else ["--specfile", "stages.yaml", "--job", "stage"]
    )
    done = trial.stagefarm(command, *job)
    assert done.returncode == 2
    assert "jobs[0].source.anise_config" in done.stderr
    assert message in done.stderr
    assert not (trial.folder / "work").exists()


def test_one_that_a_hook_has_to_write_is_checked_once_it_should_be_there(trial: Trial) -> None:
    (trial.folder / "anise.yaml").unlink()
    hooks = "hooks:\n- {name: early, type: outer-pre-sourcer, commands: ['%s']}\n"
    (trial.folder / "hooks.yml").write_text(hooks % "true")
    planned = trial.stagefarm("plan", "--local", "--specfile", "stages.yaml", "--job", "stage")
    assert "configuration ./anise.yaml  (not there: a hook has to write it)" in planned.stdout
    done = trial.run()
    assert done.returncode == 1
    assert "./anise.yaml: no such configuration of anise" in done.stderr
    (trial.folder / "hooks.yml").write_text(hooks % "echo no: [ > anise.yaml")
    done = trial.run()
    assert done.returncode == 1
    assert "did not read its configuration" in done.stderr


def test_plan_shows_every_call(trial: Trial) -> None:
    planned = trial.stagefarm("plan", "--local", "--specfile", "stages.yaml", "--job", "stage")
    lines = [line.strip() for line in planned.stdout.splitlines()]
    start = lines.index("configuration ./anise.yaml")
    assert lines[start + 1 : start + 5] == [
        "anise repo update",
        "anise install repository/stable",
        "anise install system/app",
        "anise cleanup",
    ]


@pytest.fixture
def on_host(trial: Trial) -> list[str]:
    """The words before a command that let it see a host with a repository of its own: a view of
    /etc that nobody else has."""
    script = trial.folder / "on-host"
    conf = json.dumps(trial.repository("host"))
    script.write_text(
        f"""set -e
        cp -a /etc {trial.folder}/etc
        mkdir -p {trial.folder}/etc/luet/repos.conf.d {trial.folder}/etc/anise/repos.conf.d
        for name in luet anise; do
            echo '{conf}' > {trial.folder}/etc/$name/repos.conf.d/host.yml
        done
        mount --bind {trial.folder}/etc /etc
        exec "$@"
        """
    )
    return ["unshare", "--mount", "--propagation", "private", "sh", str(script)]


def test_the_configuration_of_the_host_takes_no_part(
    trial: Trial, on_host: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its folders, nor a file in the home or the folder of whoever starts the build."""
    monkeypatch.setenv("HOME", str(trial.folder / "home"))
    (trial.folder / "home").mkdir()
    for place in (trial.folder, trial.folder / "home"):
        for name in (".luet.yaml", ".anise.yaml"):
            (place / name).write_text(trial.config("host"))
    trial.write(package="system/other")
    done = trial.run(within=on_host)
    assert done.returncode == 1
    assert "anise did not install system/other" in done.stderr
    assert (trial.folder / ".luet.yaml").read_text() == trial.config("host")


def test_the_configuration_of_the_host_takes_part_where_the_job_names_it(
    trial: Trial, on_host: list[str]
) -> None:
    trial.write(package="system/other")
    config = trial.config("main", repos_confdir=["/etc/luet/repos.conf.d"])
    (trial.folder / "anise.yaml").write_text(config)
    (trial.folder / "hooks.yml").write_text("hooks: []\n")
    done = trial.run(within=on_host)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "./etc/other" in trial.listing()


SEEN, EXPECTED = '"$HOME $LANG $(umask)"', '"/root C.UTF-8 0022"'


def test_the_tree_does_not_depend_on_who_starts_the_build(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trial.run().returncode == 0
    plain = trial.listing()
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    monkeypatch.setenv("HOME", str(trial.folder / "nowhere"))
    monkeypatch.setenv("TMPDIR", str(trial.folder / "tmpdir"))
    (trial.folder / "tmpdir").mkdir()
    hook = {"name": "look", "commands": [f"test {SEEN} = {EXPECTED}", "rm /etc/resolv.conf"]}
    (trial.folder / "hooks.yml").write_text(json.dumps({"hooks": [hook]}))
    done = trial.run(umask=0o077)
    assert done.returncode == 0, done.stdout + done.stderr
    assert trial.listing() == plain
    assert plain["./"] == "drwxr-xr-x"
    assert not list((trial.folder / "tmpdir").iterdir())


def test_an_interrupted_call_leaves_nothing(trial: Trial) -> None:
    trial.write(package="system/late")
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "orchestrator",
            "run",
            "--specfile",
            "stages.yaml",
            "--job",
            "stage",
        ],
        cwd=trial.folder,
        env=trial.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert eventually(sleeping, 60.0)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode != 0
    assert not sleeping()


def sleeping() -> list[str]:
    """The sleeps that finalizers run."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            # who enters the root filesystem has it for a root, whatever the path to it is
            if words[:2] == [b"sleep", b"600"] and (process / "root/etc/l").exists():
                found.append(process.name)
    return found


def test_a_lock_on_the_host_that_a_link_leads_to_is_left_alone(trial: Trial) -> None:
    place = trial.folder / "locks"
    place.mkdir()
    link = f"mkdir -p $MARKDEVKIT_ROOTFS/var && ln -s {place} $MARKDEVKIT_ROOTFS/var/lock"
    hooks = [{"name": "early", "type": "outer-pre-sourcer", "commands": [link]}]
    (trial.folder / "hooks.yml").write_text(json.dumps({"hooks": hooks}))
    trial.write(package="system/base")
    with lock(place / "luet.lock"), lock(place / "anise.lock"):
        done = trial.run()
    assert done.returncode == 0, done.stdout + done.stderr


def downloads(trial: Trial) -> list[str]:
    """The packages that the server was asked for, by what their names begin with."""
    return sorted(Path(path).name.partition("-")[0] for path in trial.asked if "package" in path)


def test_packages_are_downloaded_once_and_listed_and_pruned(trial: Trial) -> None:
    for _ in range(2):
        assert trial.run().returncode == 0
    assert downloads(trial) == ["app", "base", "stable"]
    listed = trial.stagefarm("cache", "list")
    assert "3 packages of anise, " in listed.stdout
    found = json.loads(trial.stagefarm("cache", "list", "--json").stdout)
    assert sorted(each["name"].partition(".")[0] for each in found) == [
        "app-system-1", "base-system-1", "stable-repository-1",
    ]  # fmt: skip
    pruned = trial.stagefarm("cache", "prune", "--all")
    assert pruned.stdout.count("removed ") == 3
    assert trial.run().returncode == 0
    assert downloads(trial) == ["app", "app", "base", "base", "stable", "stable"]


def test_packages_that_are_too_many_are_not_kept(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAGEFARM_PACKAGES_LIMIT_BYTES", "5000")
    assert trial.run().returncode == 0
    found = json.loads(trial.stagefarm("cache", "list", "--json").stdout)
    assert sum(each["size_bytes"] for each in found) < 5000
    assert 0 < len(found) < 3


def test_a_kept_package_that_is_damaged_is_downloaded_again(trial: Trial) -> None:
    assert trial.run().returncode == 0
    (kept,) = trial.folder.glob("state/packages/*/app-*")
    kept.write_bytes(b"damaged")
    done = trial.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"kept packages were damaged: {kept.name}; once more" in done.stdout
    assert downloads(trial) == ["app", "app", "base", "stable"]
    assert kept.stat().st_size > 100


def test_a_package_of_the_same_name_from_another_repository_is_another(
    trial: Trial, repositories: tuple[str, list[str]]
) -> None:
    """Both repositories have a package `stable`, with other files."""
    assert trial.run().returncode == 0
    (trial.folder / "anise.yaml").write_text(trial.config("host"))
    (trial.folder / "hooks.yml").write_text("hooks: []\n")
    trial.write(package="system/other")
    done = trial.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert trial.content("./etc/stable") == "another\n"
    assert len(list(trial.folder.glob("state/packages/*/stable-*"))) == 2


def the_reference_makes_the_same_tree(trial: Trial, tmp_path: Path) -> None:
    """In a view of the machine with a /dev of its own: it binds that into the root filesystem, and
    its cleaning up has emptied a host's before."""
    (trial.folder / "hooks.yml").write_text("hooks: []\n")
    assert trial.run().returncode == 0
    (trial.folder / "out").rename(trial.folder / "ours")
    script = tmp_path / "reference"
    script.write_text(
        f"""set -e
        mkdir {tmp_path}/dev; mount -t tmpfs dev {tmp_path}/dev
        for name in null zero full random urandom tty; do
            touch {tmp_path}/dev/$name; mount --bind /dev/$name {tmp_path}/dev/$name
        done
        mount --move {tmp_path}/dev /dev
        export LUET_SYSTEM__TMPDIR_BASE={tmp_path}/base HOME={tmp_path}
        mkdir -p out
        exec {os.environ.get("MARK_DEVKIT")} metro run --specfile stages.yaml --job stage
        """
    )
    unshare = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc"]
    done = subprocess.run(
        [*unshare, "sh", str(script)], cwd=trial.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tarballs = [str(trial.folder / name / "stage.tar") for name in ("ours", "out")]
    compared = trial.stagefarm("diff", *tarballs, "--ignore-times", "--json")
    found = json.loads(compared.stdout)
    differs = {name: found[name] for name in ("files_added", "files_removed", "packages_changed")}
    assert not any(differs.values()), differs
    changed = {item["path"]: item["what"] for item in found["files_changed"]}
    assert changed.pop("/") == ["mode"]
    assert changed.keys() <= {"/var/cache/luet/luet.db", "/etc/devices"}, changed


# --- On a farm ------------------------------------------------------------------------------------


@pytest.fixture
def farm(trial: Trial, seed: Path) -> Iterator[Farm]:
    folder = trial.folder / "farm"
    folder.mkdir()
    farm = Farm(folder, seed, RedisServer(folder / "redis"))
    farm.redis.start()
    try:
        yield farm
    finally:
        farm.end()


def build_of(farm: Farm, trial: Trial, *packages: str, **changes: object) -> Build:
    look = Hook(
        name="look", commands=("cat /etc/app /etc/finalized",), entrypoint=("/bin/sh", "-c")
    )
    source = Source(
        type=SourceType.ANISE,
        anise_config="./anise.yaml",
        anise_repos=("repository/stable",),
        anise_packages=packages or ("system/app",),
    )
    build = farm.build_of((look,), name="stage")
    (Path(build.folder) / "anise.yaml").write_text(trial.config("main"))
    return replace(build, **({"source": source} | changes))  # type: ignore[arg-type]


def test_two_slots_build_side_by_side(trial: Trial, farm: Farm) -> None:
    farm.worker("one", slots=2)
    builds = farm.submit(*(build_of(farm, trial) for _ in range(BUILDS)))
    assert eventually(lambda: all(farm.record(build).state.ended for build in builds), 600.0)
    states = [farm.record(build).state for build in builds]
    assert states == [BuildState.SUCCEEDED] * BUILDS, farm.logs()
    assert downloads(trial) == ["app", "base", "stable"]
    assert eventually(lambda: not list((farm.folder / "hosts").glob("*/builds/*")))


def test_the_farm_and_run_give_the_same_tree(trial: Trial, farm: Farm) -> None:
    (trial.folder / "hooks.yml").write_text("hooks:\n- name: look\n  commands: ['true']\n")
    assert trial.run().returncode == 0
    farm.worker("one")
    (build,) = farm.submit(build_of(farm, trial))
    farm.wait(build, state=BuildState.SUCCEEDED)
    (tarball,) = (path for path in farm.store.rglob("stage.tar"))
    done = trial.stagefarm(
        "diff", str(trial.folder / "out/stage.tar"), str(tarball), "--ignore-times", "--json"
    )
    found = json.loads(done.stdout)
    changed = {item["path"] for item in found["files_changed"]}
    assert (found["files_added"], found["files_removed"]) == ([], [])
    assert changed <= {"/var/cache/luet/luet.db", "/etc/devices"}, changed
    assert not found["packages_changed"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("/etc/hostname", "not in the folder that was sent along"),
        ("../outside.yaml", "not in the folder that was sent along"),
        ("./ignored.yaml", "no such configuration of anise"),
        ("link", "no such configuration of anise"),
    ],
)
def test_a_host_takes_no_configuration_but_one_that_was_sent(
    trial: Trial, farm: Farm, config: str, message: str
) -> None:
    build = build_of(farm, trial)
    folder = Path(build.folder)
    for name in ("../outside.yaml", "ignored.yaml"):
        (folder / name).write_text(trial.config("main"))
    (folder / ".gitignore").write_text("ignored.yaml\n")
    (folder / "link").symlink_to("../outside.yaml")
    farm.worker("one")
    build = replace(build, source=replace(build.source, anise_config=config))
    farm.submit(build)
    (record,) = farm.wait(build)
    assert record.state is BuildState.FAILED
    assert message in record.reason


def test_a_configuration_outside_is_refused_for_a_farm_and_told_by_validate(trial: Trial) -> None:
    outside = trial.folder.parent / f"{trial.folder.name}.yaml"
    outside.write_text(trial.config("main"))
    try:
        trial.write(config=str(outside))
        job = ["--specfile", "stages.yaml", "--job", "stage"]
        planned = trial.stagefarm("plan", *job)
        assert planned.returncode == 2
        assert "not in the folder that is sent along" in planned.stderr
        assert trial.stagefarm("plan", "--local", *job).returncode == 0
        validated = trial.stagefarm("validate", "stages.yaml")
        assert validated.returncode == 0
        assert "warning:" in validated.stderr
        assert "not in the folder that is sent along" in validated.stderr
        assert trial.run().returncode == 0
    finally:
        outside.unlink()


def test_a_cancelled_build_leaves_nothing(trial: Trial, farm: Farm) -> None:
    farm.worker("one")
    (build,) = farm.submit(build_of(farm, trial, "system/late"))
    assert eventually(sleeping, 60.0), farm.logs()
    farm.command("cancel", build.id)
    (record,) = farm.wait(build)
    assert record.state is BuildState.CANCELLED
    assert eventually(lambda: not sleeping())
    assert eventually(lambda: not list((farm.folder / "hosts").glob("*/builds/*")))


if os.environ.get("MARK_DEVKIT"):  # of `make trial-anise` alone: no machine has the reference
    test_the_reference_makes_the_same_tree = the_reference_makes_the_same_tree
