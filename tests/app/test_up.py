"""`oms up` from outside: it serves, and however it ends nothing of it stays and nothing is lost."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.ports import free_port

OMS = Path(sys.executable).with_name("oms")


@pytest.fixture
def directory() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="oms-test-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


class Up:
    """A running `oms up`."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.directory = directory
        self.output = directory / "output.txt"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OMS_")}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [OMS, "up", "--no-demo", "--port", str(self.port), "--data", str(directory)],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment | {"NO_COLOR": "1"},
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while not self.ready():
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.05)

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def database_runs(self) -> bool:
        return (self.directory / "pgdata" / "postmaster.pid").exists()


@pytest.fixture
def up(directory: Path) -> Iterator[Up]:
    started = Up(directory)
    yield started
    if started.process.poll() is None:
        started.process.kill()
    started.process.wait()


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 0)])
def test_ctrl_c_and_sigterm_end_it_without_a_trace(up: Up, how: signal.Signals, code: int) -> None:
    os.killpg(up.process.pid, how)
    assert up.process.wait(60) in {code, 128 + how}
    assert not up.database_runs()
    assert "Traceback" not in up.output.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_kill_9_leaves_no_database_running_and_the_next_start_serves(up: Up) -> None:
    up.process.kill()
    up.process.wait()
    deadline = time.monotonic() + 10
    while up.database_runs() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not up.database_runs()
    again = Up(up.directory)
    again.process.terminate()
    again.process.wait(60)


def test_the_printed_curl_line_works_when_pasted(up: Up) -> None:
    line = next(line for line in up.output.read_text().splitlines() if line.strip().startswith("curl "))
    answer = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=30, check=True).stdout
    assert answer.startswith('{"data":{"orders":{"nodes":[]}}'), answer


def test_it_prints_where_everything_is_and_who_may_enter(up: Up) -> None:
    printed = up.output.read_text()
    for path in ("/graphql", "/graphiql", "/readyz"):
        assert f"http://127.0.0.1:{up.port}{path}" in printed
    assert re.search(r"^  staff +ey\S+$", printed, flags=re.MULTILINE)
    assert re.search(r"^  partner +ey\S+$", printed, flags=re.MULTILINE)


def test_other_commands_share_its_database_and_leave_it_running(up: Up) -> None:
    checked = subprocess.run(
        [OMS, "check", "--data", str(up.directory)], capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert up.ready()


def test_a_database_that_dies_under_it_is_started_again(up: Up) -> None:
    postmaster = int((up.directory / "pgdata" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(postmaster, signal.SIGQUIT)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        time.sleep(0.1)
        pid_file = up.directory / "pgdata" / "postmaster.pid"
        if pid_file.exists() and pid_file.read_text().splitlines()[0] != str(postmaster) and up.ready():
            break
    assert up.ready()


def test_reset_while_it_runs_is_refused(up: Up) -> None:
    refused = subprocess.run(
        [OMS, "up", "--reset", "--data", str(up.directory), "--port", str(free_port())],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert refused.returncode == 1
    assert "is in use by another `oms`: stop that first." in refused.stderr
    assert up.ready()
