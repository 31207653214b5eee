"""What limiter, circuit breaker, deadline and metrics around a call of nothing cost, on one thread and on two at once;
beside a mutex around the plainest limiter, breaker and histogram, and the same in Go with a channel as limiter. cpu_ns is
the time that the threads ran; shared_per_1000, how many of 1000 calls of ours took a lock that threads share."""

import json
import os
import subprocess
import tempfile

import peers
import report

TARGETS = ["bench-guard-penstock"]


def run(build, options):
    rows = report.Rows()
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as made:
        commands = [[os.path.join(build, "bench", "guard", "bench-guard-penstock")]]
        if peers.has("go"):
            commands.append(peers.go(made, "guard/guard.go"))
        for _ in range(options.runs):
            for command in commands:
                said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=300).stdout
                for row in (json.loads(line) for line in said.splitlines() if line.startswith('{"case"')):
                    rows.add(row.pop("case"), row.pop("subject"), **row)
    return rows.medians()
