"""What a second scheduler thread adds: requests that compute for 200 us each, so that the load, on the same two cores,
takes little of them."""

import contextlib
import os
import subprocess

import process
import report

TARGETS = ["bench-server-penstock"]
CONNECTIONS = 64


def rate(url, seconds):
    said = subprocess.run(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", url], check=True,
                          capture_output=True, text=True).stdout
    return process.Load(said)


def run(build, options):
    rows = report.Rows()
    with contextlib.ExitStack() as stack:
        running = {}
        both = ",".join(str(core) for core in sorted(os.sched_getaffinity(0))[:2])
        for threads in (1, 2):
            pid, address = stack.enter_context(
                process.server([f"{build}/bench/servers/bench-server-penstock", str(threads)], both))
            process.wait_for(f"http://{address}/hello")
            running[threads] = (pid, f"http://{address}/work")
        for _ in range(options.runs):
            for threads, (pid, url) in running.items():
                before = process.cpu_us(pid)
                load = rate(url, options.seconds)
                rows.add("200 us of computing", f"{threads}_threads",
                         cpu_us_per_request=(process.cpu_us(pid) - before) / load.requests,
                         requests_per_s=load.rate, p99_ms=load.p99_ms)
    return report.against(rows.medians(), "1_threads", "requests_per_s", "of_one_thread")
