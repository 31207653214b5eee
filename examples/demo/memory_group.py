"""A memory limit that the kernel enforces: a control group for each node, where this process may make one."""

import contextlib
import os
import time

_ROOT = "/sys/fs/cgroup"


def _write(path, text):
    with open(path, "w") as file:
        file.write(text)


def _candidates(name):
    """(group, file of the limit) in the second and the first version of control groups."""
    yield os.path.join(_ROOT, name), "memory.max"
    yield os.path.join(_ROOT, "memory", name), "memory.limit_in_bytes"


class MemoryGroup:
    def __init__(self, path):
        self._path = path

    @classmethod
    def make(cls, name, limit_bytes):
        """None where control groups are not to be had."""
        for path, limit in _candidates(name):
            try:
                os.mkdir(path)
            except OSError:
                continue
            try:
                # Where no control groups are mounted, it is an empty folder.
                if os.path.exists(os.path.join(path, limit)):
                    _write(os.path.join(path, limit), str(limit_bytes))
                    return cls(path)
            except OSError:
                pass
            os.rmdir(path)
        return None

    def enter(self):
        """Moves the calling process there."""
        _write(os.path.join(self._path, "cgroup.procs"), str(os.getpid()))

    def remove(self):
        """Once its processes have ended."""
        end = time.monotonic() + 2
        while True:
            with contextlib.suppress(FileNotFoundError):
                try:
                    os.rmdir(self._path)
                except OSError:
                    if time.monotonic() < end:
                        time.sleep(0.05)
                        continue
                    raise
            return
