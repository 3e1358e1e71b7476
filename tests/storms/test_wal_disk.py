"""The small disk of a storm's write-ahead log: what was on the large one is there, it fills up, nobody else sees it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from bench.storm.wal_disk import WalDisk, not_mountable


def mounts(process: int) -> str:
    return Path(f"/proc/{process}/mountinfo").read_text()


async def test_the_log_moves_to_a_disk_that_fills_up_and_back(tmp_path: Path) -> None:
    if (why := not_mountable()) is not None:
        pytest.skip(why)
    log = tmp_path / "pgdata" / "pg_wal"
    log.mkdir(parents=True)
    (log / "0001").write_bytes(b"one")
    disk = WalDisk(tmp_path / "pgdata")
    try:
        await disk.attach()
        assert disk.attached
        assert (log / "0001").read_bytes() == b"one"
        assert str(tmp_path) not in mounts(os.getppid())

        disk.fill()
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            (log / "0002").write_bytes(b"two")

        disk.free()
        (log / "0002").write_bytes(b"two")
        await disk.detach()
    finally:
        disk.unmount()
    assert not disk.attached
    assert {file.name: file.read_bytes() for file in log.iterdir()} == {"0001": b"one", "0002": b"two"}
    assert str(tmp_path) not in mounts(os.getpid())
