"""A Flask application under uWSGI, not one line of it changed, started by penstock-run: short phases, real programs."""

import dataclasses
import json
import os
import signal
import sys
import tempfile
import time
import unittest

SOURCE = os.environ["PENSTOCK_SOURCE"]
BUILD = os.environ["PENSTOCK_BUILD"]
sys.path.insert(0, os.path.join(SOURCE, "examples/demo"))

import report
import scenario
import stage as staging
import web
from console import Console
from processes import Ports, Programs
from scenarios import SCENARIOS

RATE = 40
SECONDS = {"normal": 2, "slow5s": 7, "blackhole": 11}


class Flask(unittest.TestCase):
    def test_survives_with_its_code_as_it_is(self):
        incident = SCENARIOS["incident"]
        plan = [
            dataclasses.replace(phase, seconds=SECONDS[phase.name])
            for phase in incident.phases
            if phase.name in SECONDS
        ]
        policy = os.path.join(SOURCE, incident.policy)
        binaries = staging.Binaries(BUILD, app="flask")
        with tempfile.TemporaryDirectory(prefix="penstock-test-") as directory, Programs(directory) as programs:
            stage = staging.Stage("penstock", binaries, programs, Ports(), 1, policy)
            self.assertEqual(len(stage.nodes.metrics), 2)
            run, _ = scenario.run(stage, Console(plain=True), incident, plan, RATE, 1)
            nodes = json.loads(stage.ctl("get", "nodes", "-o", "json"))
            nodes = nodes if isinstance(nodes, list) else nodes["nodes"]
            self.assertEqual({node["name"] for node in nodes}, set(stage.nodes.pids))
            for address in stage.nodes.metrics.values():
                metrics = web.get(address, "/metrics")
                for upstream in "ABC":
                    self.assertRegex(metrics, f'penstock_upstream_requests_total{{.*upstream="{upstream}".*}} [1-9]')
            why = stage.ctl("why", "upstream/A")
            workers = list(stage.nodes.pids.values())
            for worker in workers:
                # The same processes as in the beginning, and few threads of the kernel.
                self.assertLess(len(os.listdir(f"/proc/{worker}/task")), 20)
            self.replace(stage, workers[0])
        summary = report.summarise(run)
        phases = {phase["name"]: phase for phase in summary["phases"]}
        self.assertEqual(phases["normal"]["goodput"], 1, summary)
        # Far below what is measured: a busy machine, a few hundred users.
        self.assertGreater(phases["slow5s"]["goodput"], 0.75, summary)
        self.assertGreater(phases["slow5s"]["unaffected_goodput"], 0.97, summary)
        self.assertGreater(phases["blackhole"]["unaffected_goodput"], 0.97, summary)
        self.assertIsNotNone(summary["trip_s"], summary)
        self.assertIn("open", why)
        for worker in workers:
            self.assertFalse(os.path.exists(f"/proc/{worker}"))

    def replace(self, stage, worker):
        """The process that the master makes instead of one that died is a node as well."""
        os.kill(worker, signal.SIGKILL)
        end = time.monotonic() + 20
        while True:
            nodes = {group["labels"]["node"] for group in json.loads(web.get(stage.console, "/sd"))}
            # The lease of the one that died goes on for a while.
            if len(nodes - {f"shop-{worker}"}) == 2:
                break
            self.assertLess(time.monotonic(), end, nodes)
            time.sleep(0.1)
        self.assertEqual(web.request(stage.front, "GET", "/about")[0], 200)


if __name__ == "__main__":
    unittest.main()
