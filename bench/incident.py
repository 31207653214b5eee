"""The founding incident, survived and not: `scripts/demo --compare`, a row for each phase and build of the shop."""

import json
import os
import subprocess
import tempfile

import report

TARGETS = []


def run(_, options):
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    rows = report.Rows()
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        path = os.path.join(folder, "demo.json")
        for _ in range(options.runs):
            subprocess.run([os.path.join(root, "scripts", "demo"), "--compare", "--headless", "--json", path],
                           check=True, stdout=subprocess.DEVNULL)
            with open(path, encoding="utf-8") as file:
                demo = json.load(file)
            for ran in demo["runs"]:
                for phase in ran["phases"]:
                    rows.add(phase["name"], ran["mode"],
                             **{name: value for name, value in phase.items() if name != "name"})
                rows.add("all", ran["mode"], **{name: value for name, value in ran.items()
                                                if name not in ("mode", "phases")})
    return rows.medians()
