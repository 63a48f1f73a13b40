"""What the Ray engine sets and checks before there is any cluster."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mailhaul.coordinator.dispatch.cluster import SETTINGS, RayCluster, environment, run_on_cluster
from mailhaul.coordinator.settings import TlsConfig
from mailhaul.proto.errors import AccessError
from mailhaul.worker.tasks.verifying import VerifyTask, run_verify


@pytest.fixture
def token(tmp_path: Path) -> Path:
    file = tmp_path / "ray.token"
    file.touch(mode=0o600)
    return file


def test_every_setting_has_one_value_and_a_reason() -> None:
    values = environment(RayCluster())
    assert values.pop("RAY_AUTH_MODE") == "disabled"
    assert values == {setting.name: setting.value for setting in SETTINGS}
    assert len(values) == len(SETTINGS)
    assert all(one.reason for one in SETTINGS)


def test_token_and_certificates_are_named(token: Path, tmp_path: Path) -> None:
    tls = TlsConfig(cert=tmp_path / "cert", key=token, ca=tmp_path / "ca")
    values = environment(RayCluster(token_file=token, tls=tls, environment={"RAY_more": "1"}))
    assert {
        name: value for name, value in values.items() if name not in {setting.name for setting in SETTINGS}
    } == {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USE_TLS": "1",
        "RAY_TLS_SERVER_CERT": str(tmp_path / "cert"),
        "RAY_TLS_SERVER_KEY": str(token),
        "RAY_TLS_CA_CERT": str(tmp_path / "ca"),
        "RAY_more": "1",
    }


def test_settings_can_be_overridden() -> None:
    name = SETTINGS[-1].name
    assert environment(RayCluster(environment={name: "7"}))[name] == "7"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_secrets_that_others_can_read_are_refused(token: Path, tmp_path: Path, mode: int) -> None:
    token.chmod(mode)
    told = f"{token} lies open to others (mode {mode:04o}): chmod 600 {token}"
    with pytest.raises(AccessError) as caught:
        environment(RayCluster(token_file=token))
    assert caught.value.message == told
    with pytest.raises(AccessError):
        environment(RayCluster(tls=TlsConfig(cert=tmp_path, key=token, ca=tmp_path)))
    # Before anything else is done.
    with pytest.raises(AccessError):
        next(run_on_cluster(run_verify, list[VerifyTask](), RayCluster(token_file=token), poll=lambda: None))


def test_a_token_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match=r"token: No such file or directory"):
        environment(RayCluster(token_file=tmp_path / "token"))


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("coordinator.dispatch.cluster", "ray"),
        ("coordinator.dispatch.ray_process", "ray"),
        ("coordinator.dispatch.local", "ray"),
        ("coordinator.dispatch.actor", "ray pydantic sqlite3 click rich mailhaul.coordinator.cli"),
        ("worker.tasks.backup", "ray pydantic sqlite3 click rich mailhaul.coordinator"),
    ],
)
def test_what_must_not_be_imported(module: str, unwanted: str) -> None:
    """The local path does not pay for Ray, and workers not for what only the coordinator needs."""
    program = f"import sys, mailhaul.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert f"mailhaul.{module}" in loaded
    assert not loaded & set(unwanted.split())
