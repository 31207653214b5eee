"""What limiter, circuit breaker, deadline and metrics around a call of nothing cost, on one thread and on two at once;
beside a mutex around the plainest limiter, breaker and histogram. cpu_ns is the time that the threads ran."""

import json
import os
import subprocess

import report

TARGETS = ["bench-guard-penstock"]


def run(build, options):
    rows = report.Rows()
    for _ in range(options.runs):
        output = subprocess.run([os.path.join(build, "bench", "guard", "bench-guard-penstock")], check=True,
                                stdout=subprocess.PIPE, timeout=300).stdout
        for row in json.loads(output):
            rows.add(row.pop("case"), row.pop("subject"), **row)
    return rows.medians()
