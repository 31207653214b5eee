"""Watches the nodes from outside: their /metrics, several times a second, and the memory of their processes."""

import http.client
import os
import re
import threading
import time

import web

POLL_S = 0.2
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_WANTED = (
    "penstock_breaker_state{",
    "penstock_requests_rejected_total{",
    "penstock_fibers ",
    "process_resident_memory_bytes ",
)
# Refusals by admission; those of a breaker are its purpose.
_SHED_REASONS = frozenset({"limit", "shed", "queue_timeout", "deadline"})


def cpu_seconds(pid):
    """CPU time of a process; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0.0


def idle_seconds():
    """CPU time that nobody wanted, of all CPUs of the machine."""
    with open("/proc/stat") as stat:
        fields = stat.readline().split()
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


def parse_metrics(text, wanted=_WANTED):
    """[(name, labels, value)] of the lines that begin with one of `wanted`."""
    samples = []
    for line in text.splitlines():
        if line.startswith(wanted):
            name, labels, value = _SAMPLE.match(line).groups()
            samples.append((name, dict(_LABEL.findall(labels or "")), float(value)))
    return samples


def resident_mib(pid):
    """Resident memory of a process; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/status") as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


class Watch(threading.Thread):
    """nodes: {name: (address or None, pid)}; without an address only the memory is watched."""

    def __init__(self, nodes):
        super().__init__(daemon=True)
        self._nodes = nodes
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._shed = {name: 0.0 for name in nodes}
        self._mark = None
        self._opened = {}
        self._cpu, self._idle = self._cpu_seconds(), idle_seconds()
        self.peak_fibers = 0
        self.peak_rss_mib = 0.0
        # Of one node.
        self.peak_node_mib = 0.0

    def run(self):
        while not self._end.is_set():
            began = time.monotonic()
            fibers = rss = 0.0
            for name, (address, pid) in self._nodes.items():
                mib = resident_mib(pid)
                rss += mib
                self.peak_node_mib = max(self.peak_node_mib, mib)
                if address:
                    fibers += self._poll(name, address)
            self.peak_fibers = max(self.peak_fibers, int(fibers))
            self.peak_rss_mib = max(self.peak_rss_mib, rss)
            self._end.wait(max(0.0, began + POLL_S - time.monotonic()))

    def stop(self):
        self._end.set()
        self.join()

    def mark(self):
        """From now on the first time that A is seen open on each node counts for trip_s()."""
        with self._lock:
            self._mark = time.monotonic()
            self._opened = {}

    def trip_s(self):
        """Seconds from mark() until A had been open on every node; None if it was not."""
        with self._lock:
            if self._mark is None or len(self._opened) < len(self._nodes):
                return None
            return max(self._opened.values()) - self._mark

    def cpu(self):
        """(CPU seconds of the nodes, of nobody) since this was asked last."""
        cpu, idle = self._cpu_seconds(), idle_seconds()
        used = cpu - self._cpu, idle - self._idle
        self._cpu, self._idle = cpu, idle
        return used

    def _cpu_seconds(self):
        return sum(cpu_seconds(pid) for _address, pid in self._nodes.values())

    def shed(self):
        """Requests that admission refused so far."""
        with self._lock:
            return sum(self._shed.values())

    def _poll(self, name, address):
        try:
            samples = parse_metrics(web.get(address, "/metrics", timeout=2))
        except (OSError, http.client.HTTPException):
            return 0.0
        now = time.monotonic()
        fibers = shed = 0.0
        with self._lock:
            for metric, labels, value in samples:
                if metric == "penstock_fibers":
                    fibers = value
                elif metric == "penstock_requests_rejected_total":
                    shed += value if labels["reason"] in _SHED_REASONS else 0
                elif labels == {"upstream": "A", "state": "open"} and value == 1 and self._mark is not None:
                    self._opened.setdefault(name, now)
            self._shed[name] = shed
        return fibers
