"""A small disk of its own for PostgreSQL's write-ahead log, and what it takes to fill it up.

The disk is a tmpfs in a mount namespace that the storm makes for itself: nobody else sees
it, and the kernel takes it away with the storm's last process, however that ends.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

CLONE_NEWNS = 0x00020000
SIZE = "200m"
"""Room for some minutes of the storm's log; memory is used only for what is written."""


def not_mountable() -> str | None:
    """Why this user may not mount a file system in a namespace of its own; None if it may."""
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "oms-storm", tempfile.gettempdir()]
    if missing := [program for program in ("unshare", "mount") if shutil.which(program) is None]:
        return f"the program {missing[0]} is not installed (Debian: util-linux, mount)"
    tried = subprocess.run(probe, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
    return f"this user may not mount a file system ({tried.stderr.strip()})" if tried.returncode else None


class WalDisk:
    """`pg_wal` of `cluster` is on the small disk between `attach` and `detach`; its server is stopped for both.

    Programs do the work on files: the threads of a process may have other mounts than the one that made them.
    """

    def __init__(self, cluster: Path) -> None:
        self._log = cluster / "pg_wal"
        self._disk = cluster.parent / "wal"
        self._ballast = self._disk / "ballast"

    @property
    def attached(self) -> bool:
        return self._log.is_symlink()

    async def attach(self) -> None:
        _mounts_of_our_own()
        self._disk.mkdir()
        await _run("mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=755", "oms-storm", self._disk)
        await _run("cp", "--archive", self._log, self._disk)
        shutil.rmtree(self._log)
        self._log.symlink_to(self._disk / self._log.name)

    async def detach(self) -> None:
        self._log.unlink()
        await _run("cp", "--archive", self._disk / self._log.name, self._log)
        self.unmount()
        self._disk.rmdir()

    def unmount(self) -> None:
        """Take the disk away, with whatever is on it, and whoever still uses it."""
        if self._disk.is_mount():
            subprocess.run(["umount", "--lazy", self._disk], check=True)  # noqa: S603, S607 - fixed words

    def fill(self) -> None:
        """Leave not a byte."""
        with self._ballast.open("ab", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(1 << 20))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def free(self) -> None:
        """Give the room back."""
        self._ballast.unlink()


def _mounts_of_our_own() -> None:
    """From now on what this thread and its children mount is theirs alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)  # noqa: S607 - fixed words


async def _run(*command: str | Path) -> None:
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    if process.returncode:
        raise OSError(process.returncode, said.decode(errors="replace").strip(), str(command[0]))
