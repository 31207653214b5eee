"""What fibers cost: yield, start and join, hand-off, channel, timer; against Boost.Fiber alone, Asio's coroutines and Go,
each on one thread, in the time that it ran."""

import json
import subprocess
import tempfile

import peers
import process
import report

TARGETS = ["bench-switch-penstock", "bench-switch-boost-fiber", "bench-switch-asio-spawn"]


def run(build, options):
    core, _ = process.cores()
    rows = report.Rows()
    folder = f"{build}/bench/switch/bench-switch-"
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as made:
        subjects = {
            "penstock": [folder + "penstock"],
            # Each fiber's stack with a guard page, as ours have, and without.
            "boost_fiber": [folder + "boost-fiber"],
            "boost_fiber_unguarded": [folder + "boost-fiber", "pooled"],
            "asio_spawn": [folder + "asio-spawn"],
        }
        if peers.has("go"):
            subjects["go"] = peers.go(made, "switch/switch.go")
        for _ in range(options.runs):
            for subject, command in subjects.items():
                said = subprocess.run(["taskset", "-c", str(core)] + command, check=True, capture_output=True,
                                      text=True).stdout
                rows.add("one thread", subject, **json.loads(said.splitlines()[-1]))
    return rows.medians()
