"""What deciding costs: one turn of the fleet's tests for causes on the controller, CPU time of one core."""

import json
import subprocess

import process
import report

TARGETS = ["bench-fleet-turn"]
# Nodes, upstreams of each, and how many of these are in trouble.
FLEETS = [(20, 10, 1), (100, 100, 5), (1000, 100, 0), (1000, 100, 10), (1000, 100, 100)]


def run(build, options):
    core, _ = process.cores()
    rows = report.Rows()
    for _ in range(options.runs):
        for nodes, upstreams, troubled in FLEETS:
            said = subprocess.run(["taskset", "-c", str(core), f"{build}/bench/tick/bench-fleet-turn", str(nodes),
                                   str(upstreams), str(troubled)], check=True, capture_output=True, text=True).stdout
            told = json.loads(said.splitlines()[-1])
            rows.add(f"{nodes} nodes x {upstreams}, {troubled} in trouble", "controller", turn_ms=told["turn_ms"],
                     longest_turn_ms=told["longest_turn_ms"])
    return rows.medians()
