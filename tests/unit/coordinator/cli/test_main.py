"""Every way in which a command can end, as an exit status and a line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import click
import pytest

from mailhaul import __version__
from mailhaul.coordinator.cli import program
from mailhaul.coordinator.cli.main import main
from mailhaul.coordinator.cli.options import json_option
from mailhaul.proto import errors
from mailhaul.worker.packing import hot_path


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], int]], None]:
    """Makes the command ``runs`` do something else."""

    def replace(action: Callable[[], int]) -> None:
        @click.command("runs")
        @json_option
        def stand_in(as_json: bool) -> int:
            return action()

        monkeypatch.setattr("mailhaul.coordinator.cli.runs.command", stand_in)

    return replace


def raising(error: BaseException) -> Callable[[], int]:
    def action() -> int:
        raise error

    return action


def test_success_and_skipped(command: Callable[..., None]) -> None:
    for status in (0, 3):
        command(lambda status=status: status)
        assert main(["runs"]) == status


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (errors.NotFoundError("/x: nothing"), 1, "mailhaul: /x: nothing"),
        (errors.UsageError("so not"), 2, "mailhaul: so not"),
        (errors.ConfigError("one\ntwo"), 2, "mailhaul: one\nmailhaul: two"),
        (errors.StoreError("bad \x1b\n name"), 1, "mailhaul: bad %1B%0A name"),
        (errors.DamagedError("broken"), 4, "mailhaul: broken"),
        (errors.LockedError("wait"), 5, "mailhaul: wait"),
        (KeyboardInterrupt(), 130, "mailhaul: interrupted"),
        (ValueError("odd"), 1, "mailhaul: ValueError: odd; this is a bug; run again with --debug"),
        (EOFError(), 1, "mailhaul: EOFError: ; this is a bug; run again with --debug"),
        (OSError(28, "No space left"), 1, "mailhaul: reading or writing: No space left"),
        (PermissionError(13, "Denied", "/a\n"), 1, "mailhaul: '/a\\n': Denied"),
    ],
)
def test_errors(
    error: BaseException,
    status: int,
    line: str,
    command: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    command(raising(error))
    assert main(["runs"]) == status
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", line + "\n")
    assert main(["--debug", "runs"]) == status
    assert "Traceback" in capsys.readouterr().err


def test_errors_as_a_document(command: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    command(raising(errors.LockedError("wait", owner="pid 1\udcff", traceback="secret")))
    assert main(["runs", "--json"]) == 5
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "error": {"code": "locked", "message": "wait", "facts": {"owner": "pid 1%FF"}}
    }
    assert captured.err == "mailhaul: wait\n"
    command(raising(KeyError("x")))
    assert main(["runs", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "unexpected"


def test_debug_shows_the_traceback_of_a_worker(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(raising(errors.BackupError("x", traceback="of the worker")))
    main(["runs"])
    assert "of the worker" not in capsys.readouterr().err
    main(["--debug", "runs"])
    assert "of the worker" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["bogus"], ["runs", "--bogus"], ["--config"], ["show"], []])
def test_wrong_use(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Error: " in captured.err or "Usage: mailhaul" in captured.err


def test_sigterm_ends_a_command_in_order(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    cleaned = []

    def action() -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.sigtimedwait([], 5)
        finally:
            cleaned.append(True)
        return 0

    command(action)
    before = signal.getsignal(signal.SIGTERM)
    assert main(["runs"]) == 143
    assert (cleaned, capsys.readouterr().err) == ([True], "mailhaul: ended by SIGTERM\n")
    assert signal.getsignal(signal.SIGTERM) == before


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name, help_ in program.COMMANDS.items():
        assert name in text
        assert main([name, "--help"]) == 0
        own = capsys.readouterr().out
        assert own.startswith(f"Usage: mailhaul {name}")
        assert "Example:" in own or name in ("catalog", "keys")
        assert help_.endswith(".")
    assert main(["catalog", "rebuild", "--help"]) == 0
    assert "Example:" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mailhaul {__version__}, hot path: {hot_path.NAME}\n"
    assert hot_path.NAME in ("C", "pure Python")


def test_help_is_quick_and_workers_pay_nothing() -> None:
    """Help needs no command's module; importing ``main`` needs not even click."""
    call = (
        "import sys; from mailhaul.coordinator.cli.main import main; light = 'click' not in sys.modules; "
        "main(['--help']); heavy = {'rich', 'pydantic', 'sqlite3', 'msgpack'} & set(sys.modules); "
        "sys.exit(f'{light} {heavy}' if not light or heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", call], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_mistyped_command_suggests_the_one_that_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bakup"]) == 2
    assert "No such command 'bakup'. Did you mean 'backup'?" in capsys.readouterr().err
    assert main(["catalog", "rebild"]) == 2
    assert "Did you mean 'rebuild'?" in capsys.readouterr().err
