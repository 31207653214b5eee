"""The demo's other scenarios with short phases: that the mechanism works on real processes, not the figures of a full run."""

import json
import os
import subprocess
import tempfile
import unittest

SOURCE = os.environ["PENSTOCK_SOURCE"]
BUILD = os.environ["PENSTOCK_BUILD"]


def run(name):
    """(the run's figures, its phases by name, what it said)."""
    with tempfile.TemporaryDirectory(prefix="penstock-test-") as directory:
        figures = os.path.join(directory, "figures.json")
        done = subprocess.run(
            [os.path.join(SOURCE, "scripts/demo"), "--headless", "--app-build", BUILD, "--quick", "--scenario", name,
             "--json", figures, "--addresses", os.path.join(directory, "addresses.json")],
            env={**os.environ, "TMPDIR": directory}, capture_output=True, text=True, timeout=120, check=True,
        )
        with open(figures) as file:
            (found,) = json.load(file)["runs"]
    return found, {phase["name"]: phase for phase in found["phases"]}, done.stdout


class Scenarios(unittest.TestCase):
    def test_a_full_third_party_is_worked_at_its_knee(self):
        found, phases, said = run("capacity")
        self.assertGreater(phases["normal"]["goodput"], 0.99, said)
        self.assertGreater(phases["capacity"]["goodput"], 0.7, said)
        self.assertGreater(phases["capacity"]["unaffected_goodput"], 0.98, said)
        self.assertIn("more calls get no more answers, the cause is ours", said)
        self.assertGreater(phases["capacity"]["late_throughput"], 0.7, said)
        self.assertIsNotNone(found["recovery_s"], said)

    def test_a_saturated_cpu_serves_whom_it_can(self):
        found, phases, said = run("cpu")
        self.assertGreater(phases["normal"]["goodput"], 0.95, said)
        # Two thirds could be, had the nodes the machine to themselves.
        self.assertGreater(phases["cpu"]["goodput"], 0.35, said)
        self.assertIsNotNone(found["recovery_s"], said)


if __name__ == "__main__":
    unittest.main()
