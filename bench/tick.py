"""What deciding costs, CPU time of one core: one turn of the fleet's tests for causes on the controller, what is usual by
four recorded weeks worked out anew and told to all nodes, and one tick of a node, ten of which a second look at its
upstreams while calls run: as it comes, and with nothing in the caches. `guards` is the part of a tick that decides, with
its data in the caches."""

import json
import subprocess

import process
import report

TARGETS = ["bench-fleet-turn", "bench-history-turn", "bench-node-tick", "bench-guard-tick"]
# Nodes, upstreams of each, and how many of these are in trouble.
FLEETS = [(20, 10, 1), (100, 100, 5), (1000, 100, 0), (1000, 100, 10), (1000, 100, 100)]
# Of 100 upstreams of a node: how many are in trouble, and calls a second to each.
NODES = [(0, 0), (0, 20), (50, 20), (100, 20)]


def run(build, options):
    core, _ = process.cores()
    rows = report.Rows()

    def told(program, *arguments):
        said = subprocess.run(["taskset", "-c", str(core), f"{build}/bench/tick/{program}", *map(str, arguments)],
                              check=True, capture_output=True, text=True).stdout
        return json.loads(said.splitlines()[-1])

    for _ in range(options.runs):
        for nodes, upstreams, troubled in FLEETS:
            turn = told("bench-fleet-turn", nodes, upstreams, troubled)
            rows.add(f"{nodes} nodes x {upstreams}, {troubled} in trouble", "controller", turn_ms=turn["turn_ms"],
                     longest_turn_ms=turn["longest_turn_ms"])
        usual = told("bench-history-turn", 1000, 100)
        rows.add("1000 nodes x 100, an hour is over", "controller", worked_out_ms=usual["worked_out_ms"],
                 told_ms=usual["told_ms"])
        for troubled, calls in NODES:
            ticks = [(f"node, {caches}", "bench-node-tick", (calls, caches)) for caches in ("warm", "cold")]
            if calls:
                ticks.append(("guards", "bench-guard-tick", ()))
            for subject, program, arguments in ticks:
                tick = told(program, 100, troubled, *arguments)
                rows.add(f"100 upstreams, {calls} calls/s, {troubled} in trouble", subject, tick_us=tick["tick_us"],
                         p99_tick_us=tick["p99_tick_us"])
    return rows.medians()
