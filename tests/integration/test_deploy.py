"""What lies in deploy/ fits together, and fits the program: units, containers, alerts, dashboard."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from datetime import UTC
from pathlib import Path
from typing import Any

import click
import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client.parser import text_string_to_metric_families

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.cli.program import program
from mailhaul.coordinator.clock import utc
from mailhaul.coordinator.config import load
from mailhaul.coordinator.dispatch.cluster import SETTINGS
from mailhaul.coordinator.governing.state import GovernorState, state_file
from mailhaul.coordinator.inventory import Failure
from mailhaul.coordinator.monitoring.course import Course
from mailhaul.coordinator.monitoring.exposition import make_registry, write_textfile
from mailhaul.coordinator.monitoring.metrics import staging_collectors
from mailhaul.coordinator.monitoring.schedule_metrics import ScheduleCollector
from mailhaul.coordinator.scheduling.settings import ScheduleConfig
from mailhaul.coordinator.scheduling.timings import parse
from mailhaul.coordinator.service.handled import HandledMoments
from mailhaul.coordinator.service.nights import Nights
from mailhaul.coordinator.service.operations import Operations
from mailhaul.coordinator.service.proofs import Proofs
from mailhaul.coordinator.service.records import Handled, Request
from mailhaul.coordinator.settings import Config, StagingConfig, own_directory
from mailhaul.coordinator.snapshots import write_snapshot
from mailhaul.coordinator.sweeping.record import note_sweep
from mailhaul.coordinator.sweeping.report import DestinationReport
from mailhaul.proto.errors import StoreError
from mailhaul.worker.destinations.tape.inventory import Inventory, Wanted
from mailhaul.worker.staging.receiver_status import write_status

from ..watched import RUN, START, FakeClock, make_plan, make_receiver_status, make_report, make_unit

BIN = "/opt/mailhaul/bin/"
TOKEN = {"RAY_AUTH_MODE": "token"}
NOT_OURS = {"up"}
_WORD = re.compile(
    r"\{[^}]*\}|\"[^\"]*\"|\[[^\]]*\]|(?:by|without|on|ignoring) ?\([^)]*\)|[a-z_:][a-z0-9_:]*"
)
_FUNCTIONS = {
    *(
        "absent",
        "and",
        "changes",
        "clamp_min",
        "deriv",
        "increase",
        "max",
        "min",
        "or",
        "rate",
        "sum",
        "time",
    ),
    "unless",
}


@pytest.fixture(scope="module")
def deploy(root: Path) -> Path:
    return root / "deploy"


def settings_of(environment: dict[str, str]) -> dict[str, str]:
    """Those that the coordinator sets too, by whatever name."""
    return {name: value for name, value in environment.items() if not name.startswith("RAY_AUTH_TOKEN")}


def expected_settings() -> dict[str, str]:
    return TOKEN | {setting.name: setting.value for setting in SETTINGS}


# systemd


def units(deploy: Path) -> list[Path]:
    return sorted([*(deploy / "systemd").glob("*.service"), *(deploy / "systemd").glob("*.timer")])


def calls(deploy: Path) -> Iterator[tuple[str, list[str]]]:
    """What each service starts."""
    for unit in units(deploy):
        text = unit.read_text().replace("\\\n", " ")
        for line in re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE):
            yield unit.name, shlex.split(line)


def test_units_are_as_systemd_wants_them(deploy: Path, tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd-analyze is not installed")
    shutil.copytree(deploy / "systemd", tmp_path / "units")
    for unit in tmp_path.rglob("*.service"):
        unit.write_text(unit.read_text().replace(BIN, f"{Path(sys.executable).parent}/"))
    names = [tmp_path / "units" / unit.name for unit in units(deploy)]
    assert len(names) == 8
    done = subprocess.run(
        [verify, "verify", "--man=no", *names], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_services_start_what_there_is(deploy: Path) -> None:
    known = ray_start_options()
    started = []
    for name, (command, *words) in calls(deploy):
        started.append(name)
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        if command == f"{BIN}ray":
            assert words[0] == "start"
            assert options <= known
        else:
            assert command == f"{BIN}mailhaul"
            check_command(words)
    assert len(started) == 6


def ray_start_options() -> set[str]:
    call = "from ray.scripts.scripts import start; print(*(o for p in start.params for o in p.opts))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", call], capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stdout.split())


def check_command(words: list[str]) -> None:
    """A command of mailhaul with options that it has."""
    context = click.Context(program)
    command = program.get_command(context, words[0])
    assert command is not None, words
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word.partition("=")[0] for word in words if word.startswith("-")} <= known, words


def test_nodes_and_head_use_the_same_ports_and_environment(deploy: Path) -> None:
    ray = {name: words for name, words in calls(deploy) if words[0].endswith("/ray")}
    head, node = ray["mailhaul-ray-head.service"], ray["mailhaul-ray-node.service"]
    ports = [{word for word in words if "-port=" in word and word != "--port=6379"} for words in (head, node)]
    assert ports[0] == ports[1] != set()
    for unit in ("head", "node"):
        text = (deploy / "systemd" / f"mailhaul-ray-{unit}.service").read_text()
        assert "EnvironmentFile=/etc/mailhaul/ray.env\n" in text
        # Ray opens its own directory to everybody.
        assert "RuntimeDirectory=mailhaul-ray\nRuntimeDirectoryMode=0700\n" in text
        assert "--temp-dir=/run/mailhaul-ray/ray" in ray[f"mailhaul-ray-{unit}.service"]
        assert "Restart=always\n" in text


@pytest.mark.parametrize("unit", ["ray-head", "ray-node", "backup", "serve"])
def test_who_has_keys_in_memory_is_neither_swapped_nor_dumped(deploy: Path, unit: str) -> None:
    text = (deploy / "systemd" / f"mailhaul-{unit}.service").read_text()
    assert "LimitCORE=0\nMemorySwapMax=0\n" in text


def test_drop_ins_belong_to_units(deploy: Path) -> None:
    for directory in (deploy / "systemd").glob("*.d"):
        assert (deploy / "systemd" / directory.name.removesuffix(".d")).is_file()
        for drop_in in directory.iterdir():
            parser = ConfigParser(strict=False, interpolation=None)
            parser.optionxform = str  # type: ignore[assignment, method-assign]
            parser.read(drop_in)
            assert parser.sections() == ["Service"]


# Ray's environment, the sample


def environment(deploy: Path) -> dict[str, str]:
    lines = (deploy / "ray" / "ray.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_the_environment_is_the_coordinators(deploy: Path) -> None:
    found = environment(deploy)
    assert found["RAY_AUTH_TOKEN_PATH"] == "/etc/mailhaul/ray.token"
    shared = {
        name: value
        for name, value in settings_of(found).items()
        if not name.startswith(("MAILHAUL_", "RAY_ROTATION_"))
    }
    assert shared == expected_settings()


def test_the_sample_fits_the_units(deploy: Path) -> None:
    config = load(deploy / "sample" / "mailhaul.toml")
    assert config.dispatch.engine == "ray"
    assert config.dispatch.address == environment(deploy)["MAILHAUL_RAY_HEAD"]
    assert str(config.dispatch.token_file) == environment(deploy)["RAY_AUTH_TOKEN_PATH"]
    assert len({host for partition in config.partitions for host in partition.hosts}) == 3
    receive = (deploy / "systemd" / "mailhaul-receive.service").read_text()
    backup = (deploy / "systemd" / "mailhaul-backup.service").read_text()
    serve = (deploy / "systemd" / "mailhaul-serve.service").read_text()
    digest = (deploy / "systemd" / "mailhaul-digest.service").read_text()
    for text in (receive, backup, serve, digest):
        assert f"RequiresMountsFor={config.staging.path}\n" in text
        assert re.search(rf"^ReadWritePaths={config.staging.path}( |$)", text, re.MULTILINE)
        assert "LogsDirectory=mailhaul\n" in text
    assert str(config.log.file).startswith("/var/log/mailhaul/")
    assert config.staging.listen.rpartition(":")[2] == config.staging.address.rpartition(":")[2]


def test_serve_may_take_its_time_to_stop(deploy: Path) -> None:
    text = (deploy / "systemd" / "mailhaul-serve.service").read_text()
    found = re.search(r"^TimeoutStopSec=([0-9]+)$", text, re.MULTILINE)
    assert found
    assert int(found[1]) > load(deploy / "sample" / "mailhaul.toml").serve.stop_grace_seconds
    assert "KillMode=process\n" in text
    assert "PrivateTmp=" not in text  # it would be taken from under operations that outlive a serve


# Containers


@pytest.fixture(scope="module")
def compose(deploy: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((deploy / "container" / "compose.yaml").read_text()))


def test_what_services_refer_to_is_there(deploy: Path, compose: dict[str, Any]) -> None:
    services, place = compose["services"], deploy / "container"
    for service in services.values():
        assert (place / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        assert set(service.get("depends_on", {})) <= set(services)
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (place / source).exists() if source.startswith(".") else source in compose["volumes"]
        if network := service.get("network_mode"):
            assert network.removeprefix("service:") in services


def test_containers_start_what_there_is(compose: dict[str, Any]) -> None:
    ray = ray_start_options()
    started = 0
    for service in compose["services"].values():
        command = service["command"]
        words = shlex.split(command) if isinstance(command, str) else command
        for line in words[2].splitlines() if words[0] == "sh" else [" ".join(words)]:
            for call in re.findall(r"\b(mailhaul (?:backup|keys|receive|status)\b.*|ray start .*)", line):
                program_name, *rest = shlex.split(call.partition(" ||")[0].replace("$$", ""))
                started += 1
                if program_name == "ray":
                    assert {one.partition("=")[0] for one in rest if one.startswith("--")} <= ray
                elif rest[:2] != ["keys", "make"]:
                    check_command(rest)
    assert started == 5


def test_containers_have_the_same_environment_and_a_configuration(
    deploy: Path, compose: dict[str, Any]
) -> None:
    services = compose["services"]
    config = load(deploy / "container" / "mailhaul.toml")
    hosts = {host for partition in config.partitions for host in partition.hosts}
    for name in (*hosts, config.staging.host):
        assert services[name]["hostname"] == name
        assert settings_of(services[name]["environment"]) == expected_settings()
        assert services[name]["environment"]["RAY_AUTH_TOKEN_PATH"] == str(config.dispatch.token_file)
    assert config.dispatch.address == f"{config.staging.host}:6379"
    assert re.match(rf"tcp://{config.staging.host}:\d+$", config.staging.address)


def test_the_image_is_made_of_all_packages(root: Path, deploy: Path) -> None:
    rules = (deploy / "container" / "Containerfile.dockerignore").read_text().splitlines()
    kept = {line[1:] for line in rules if line.startswith("!")}
    packages = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {name.split(".")[1] for name in packages if "." in name}
    assert folders | {"pyproject.toml", "README.md", "py.typed"} <= kept
    assert all((root / name).exists() for name in kept)
    text = (deploy / "container" / "Containerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    known = {"FROM", "COPY", "RUN", "ENV", "USER", "WORKDIR", "ENTRYPOINT", "CMD"}
    assert {line.split()[0] for line in lines} <= known
    assert lines[-3].startswith("WORKDIR")
    assert "USER mailhaul" in lines


# Prometheus and Grafana


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of all samples that mailhaul ever tells."""
    staging = tmp_path_factory.mktemp("staging")
    with Catalog.open(staging, write=True) as catalog:
        catalog.begin_run(RUN, utc(START), paths="/")
        catalog.plan_units([make_unit()])
        catalog.commit_unit(make_report(make_unit(), skipped=("changed",)), sealed=utc(START))
    write_status(staging, make_receiver_status())
    note_sweep(staging, DestinationReport(name="vault"), utc(START))
    proofs = Proofs(staging)
    proofs.end(proofs.begin(1, utc(START)).id, "done", utc(START))
    wanted = Wanted(pool="p", why="to be written on", since=utc(START).isoformat())
    Inventory(str(own_directory(staging, "drive"))).want(wanted)
    (staging / ".mailhaul" / "governor").mkdir()
    minded = GovernorState(
        host="mail01",
        pid=1,
        since=utc(START),
        written=utc(FakeClock().now()),
        target_seconds=0.15,
        window_seconds=60.0,
    )
    write_snapshot(state_file(staging, "mail01"), minded)
    Operations(staging).add(Request(kind="backup", asked_by="cli:root"), utc(START))
    Nights(staging).note(utc(START).date(), good=True)
    course = Course(FakeClock(), 1)
    course.planned(make_plan(make_unit(), left_out=1))
    course.failed(Failure(what="p", error=StoreError("gone")))
    partition = make_unit().partition
    schedule = ScheduleConfig(backup=(parse("02:00"),))
    config = Config(staging=StagingConfig(path=staging), partitions=(partition,), schedule=schedule)
    HandledMoments(staging).begin({"backup": Handled(moment=utc(START), full=utc(START))}, ())
    collectors = (
        *staging_collectors(config, FakeClock(), course.status),
        ScheduleCollector(config, UTC, FakeClock()),
    )
    write_textfile(make_registry(*collectors), staging / "m.prom")
    families = text_string_to_metric_families((staging / "m.prom").read_text())
    found: set[str] = set()
    for family in families:
        # One without samples has nothing to tell here, and may elsewhere.
        total = family.name + "_total" * (family.type == "counter")
        found |= {sample.name for sample in family.samples} or {total}
    return found


def metric_names(expression: str) -> set[str]:
    """The metrics that an expression asks for."""
    words = {word for word in _WORD.findall(expression) if re.fullmatch(r"[a-z_:][a-z0-9_:]*", word)}
    return words - _FUNCTIONS - NOT_OURS


def rules(deploy: Path) -> list[dict[str, Any]]:
    document = yaml.safe_load((deploy / "prometheus" / "mailhaul.rules.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def expressions(deploy: Path) -> list[str]:
    """Those of the dashboard."""
    dashboard = json.loads((deploy / "grafana" / "mailhaul.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]


def test_alerts_ask_for_metrics_that_there_are(deploy: Path, metrics: set[str]) -> None:
    for rule in rules(deploy):
        names = metric_names(rule["expr"])
        assert names, rule["alert"]
        assert names <= metrics, rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning", "info")


def test_the_dashboard_asks_for_metrics_that_there_are(deploy: Path, metrics: set[str]) -> None:
    asked = {name for expression in expressions(deploy) for name in metric_names(expression)}
    assert asked <= metrics
    # What is counted is also shown, or somebody is alerted by it.
    alerted = {name for rule in rules(deploy) for name in metric_names(rule["expr"])}
    assert {metric for metric in metrics - asked - alerted if not metric.endswith("_timestamp_seconds")} == {
        "mailhaul_receiver_start_time_seconds",
        "mailhaul_receiver_sealed_total",
    }


def test_dashboard_panels_do_not_overlap(deploy: Path) -> None:
    dashboard = json.loads((deploy / "grafana" / "mailhaul.json").read_text())
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_alerts_fire_when_they_should(deploy: Path, require_tool: Callable[[str], Path]) -> None:
    promtool, place = require_tool("promtool"), deploy / "prometheus"
    for words in (
        ["check", "rules", "mailhaul.rules.yml"],
        ["check", "config", "prometheus.yml"],
        ["test", "rules", "mailhaul.rules.test.yml"],
    ):
        done = subprocess.run(
            [promtool, *words], cwd=place, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    tested = set(re.findall(r"alertname: (\w+)", (place / "mailhaul.rules.test.yml").read_text()))
    assert tested == {rule["alert"] for rule in rules(deploy)}


def test_dashboard_expressions_are_promql(
    deploy: Path, tmp_path: Path, require_tool: Callable[[str], Path]
) -> None:
    records = [{"record": f"r{at}", "expr": expr} for at, expr in enumerate(expressions(deploy))]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": records}]}))
    done = subprocess.run(
        [require_tool("promtool"), "check", "rules", file],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(records)} rules found" in done.stdout


def test_the_metrics_that_are_scraped_are_those_that_are_served(deploy: Path) -> None:
    scraped = yaml.safe_load((deploy / "prometheus" / "prometheus.yml").read_text())
    (job,) = scraped["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    words = dict(calls(deploy))["mailhaul-receive.service"]
    assert words[words.index("--metrics-listen") + 1].rpartition(":")[2] == target.rpartition(":")[2]
    assert job["job_name"] == "mailhaul"


# The documents


def test_operations_name_every_file(root: Path, deploy: Path) -> None:
    text = (root / "docs" / "operations.md").read_text()
    files = [path for path in deploy.rglob("*") if path.is_file() and "demo" not in path.parts]
    unnamed = [file.name for file in files if file.name not in text and "__pycache__" not in file.parts]
    assert unnamed == []


def test_operations_name_every_metric_and_every_alert_of_destinations(
    root: Path, deploy: Path, metrics: set[str]
) -> None:
    text = (root / "docs" / "operations.md").read_text()
    # What the receiver counts is told in one line.
    told = {metric for metric in metrics if not metric.startswith("mailhaul_receiver_")}
    assert {one for one in told if f"`{one}`" not in text} == set()
    places = (
        "mailhaul_place_",
        "mailhaul_sweep_",
        "mailhaul_tape_",
        "mailhaul_unswept_",
        "mailhaul_one_place_",
    )
    alerts = [rule["alert"] for rule in rules(deploy) if any(place in rule["expr"] for place in places)]
    assert len(alerts) == 6
    assert [alert for alert in alerts if f"`{alert}`" not in text] == []
