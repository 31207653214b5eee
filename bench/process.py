"""Servers under measurement: started on one core, their CPU time read from the kernel, always ended."""

import contextlib
import os
import re
import subprocess
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


def memory_kib(pid, field="VmRSS"):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        own = int(re.search(field + r":\s+(\d+) kB", file.read())[1])
    return own + sum(memory_kib(child, field) for child in children(pid))


def wrk_report(url, connections, seconds, core):
    """Requests answered, their rate, and percentiles of their latency. Any error ends the benchmark."""
    said = subprocess.run(
        ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url],
        check=True, capture_output=True, text=True).stdout
    if "Socket errors" in said or "Non-2xx" in said:
        raise SystemExit(f"bench: the load saw errors\n{said}")

    def percentile(p):
        number, unit = re.search(p + r"%\s+([\d.]+)(us|ms|s)", said).groups()
        return float(number) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]

    return {"requests": int(re.search(r"(\d+) requests in", said)[1]),
            "requests_per_s": float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1]),
            "p50_ms": percentile("50"), "p99_ms": percentile("99")}


def wrk(url, connections, seconds, core):
    """Requests answered, their rate, and the 99th percentile of latency in ms. Any error ends the benchmark."""
    report = wrk_report(url, connections, seconds, core)
    return report["requests"], report["requests_per_s"], report["p99_ms"]
