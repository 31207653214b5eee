"""Servers under measurement: started on one core, their CPU time read from the kernel, always ended."""

import contextlib
import os
import re
import subprocess
import sys
import threading
import time

TICK_US = 1e6 / os.sysconf("SC_CLK_TCK")


def cores():
    """Two cores of ours: for the server, and for the load."""
    mine = sorted(os.sched_getaffinity(0))
    if len(mine) < 2:
        raise SystemExit("bench: needs two cores, for the server and for the load")
    return mine[0], mine[1]


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


def cpu_us(pid):
    """User and system time of a process and its children so far, in microseconds."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * TICK_US + sum(cpu_us(child) for child in children(pid))


@contextlib.contextmanager
def server(command, core, address=None):
    """Runs a server that prints its address first, or that listens on the given one."""
    process = subprocess.Popen(["taskset", "-c", str(core)] + command, stdout=subprocess.PIPE, text=True)
    try:
        yield process.pid, address or process.stdout.readline().strip()
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(url):
    until = time.monotonic() + 10
    while subprocess.run(["curl", "-sf", "-o", "/dev/null", url], check=False).returncode != 0:
        if time.monotonic() > until:
            raise SystemExit(f"bench: {url} does not answer")
        time.sleep(0.05)


class Load:
    """What wrk said."""

    def __init__(self, said):
        self.requests = int(re.search(r"(\d+) requests in", said)[1])
        self.rate = float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])
        self.p50_ms = self._quantile(said, "50%")
        self.p99_ms = self._quantile(said, "99%")
        late = re.search(r"timeout (\d+)", said)
        self.timeouts = int(late[1]) if late else 0

    @staticmethod
    def _quantile(said, which):
        number, unit = re.search(which + r"\s+([\d.]+)(us|ms|s)", said).groups()
        return float(number) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]


def wrk(url, connections, seconds, core, subject=""):
    """Any error ends the benchmark, but that requests took longer than two seconds, of which it is told at once."""
    said = subprocess.run(
        ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url],
        check=True, capture_output=True, text=True).stdout
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+)", said)
    if "Non-2xx" in said or (errors and any(map(int, errors.groups()))):
        raise SystemExit(f"bench: the load saw errors from {url}\n{said}")
    load = Load(said)
    if load.timeouts:
        print(f"bench: {subject or url}, {connections} connections: {load.timeouts} requests took longer than 2 s",
              file=sys.stderr)
    return load


def tree(pid):
    """A process and all below it."""
    return [pid] + [below for child in children(pid) for below in tree(child)]


def resident_kib(pid, field="VmRSS"):
    """Of a process and its children, now, or at most so far (VmHWM); pages that they share count in each."""
    total = 0
    for one in tree(pid):
        with open(f"/proc/{one}/status", encoding="ascii") as file:
            total += int(re.search(field + r":\s+(\d+) kB", file.read())[1])
    return total


def threads(pid):
    return sum(len(os.listdir(f"/proc/{one}/task")) for one in tree(pid))


class Watch(contextlib.AbstractContextManager):
    """The most memory and threads of a process while it lasts, seen every 20 ms."""

    def __init__(self, pid):
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.resident_kib = 0
        self.threads = 0

    def _look(self):
        while not self._ended.wait(0.02):
            self.resident_kib = max(self.resident_kib, resident_kib(self._pid))
            self.threads = max(self.threads, threads(self._pid))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._ended.set()
        self._thread.join()
