"""The demo with short phases: real programs, real sockets, a real Prometheus and nginx."""

import glob
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
import urllib.request

SOURCE = os.environ["PENSTOCK_SOURCE"]
BUILD = os.environ["PENSTOCK_BUILD"]
# A folder for pictures of the console, to look at.
CONSOLE_PICTURES = [os.environ["PENSTOCK_PICTURES"]] if "PENSTOCK_PICTURES" in os.environ else []
def programs_in(directory):
    """Command lines of the processes that name the directory."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, errors="replace") as file:
                command = file.read().replace("\0", " ")
        except OSError:
            continue
        if directory in command:
            found.append(command)
    return found


class Demo(unittest.TestCase):
    def setUp(self):
        # Its own directory for everything, so that other demos on this machine do not matter.
        self.directory = tempfile.mkdtemp(prefix="penstock-test-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.addresses_file = os.path.join(self.directory, "addresses.json")

    def start(self, *args):
        command = [os.path.join(SOURCE, "scripts/demo"), "--headless", "--app-build", BUILD]
        demo = subprocess.Popen(
            [*command, "--addresses", self.addresses_file, *args],
            env={**os.environ, "TMPDIR": self.directory}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        self.addCleanup(self.end, demo)
        return demo

    @staticmethod
    def end(demo):
        if demo.poll() is None:
            demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=30)

    def addresses(self):
        with open(self.addresses_file) as file:
            return json.load(file)

    def assert_nothing_left(self, *expected):
        self.assertEqual(programs_in(self.directory), [])
        self.assertEqual(sorted(os.listdir(self.directory)), sorted(expected))

    def test_the_incident_is_survived(self):
        figures = os.path.join(self.directory, "figures.json")
        demo = self.start("--quick", "--json", figures)
        output = self.watch_the_incident(demo)
        self.assertEqual(demo.wait(), 0, output)
        with open(figures) as file:
            (run,) = json.load(file)["runs"]
        phases = {phase["name"]: phase for phase in run["phases"]}
        self.assertEqual(list(phases), ["normal", "slow5s", "recovered", "blackhole", "recovered2"], output)
        self.assertEqual(run["mode"], "penstock")
        # Wider than what the full length is held to: a busy machine, a few hundred users.
        self.assertGreater(phases["normal"]["goodput"], 0.99, output)
        self.assertGreater(phases["slow5s"]["goodput"], 0.75, output)
        self.assertGreater(phases["slow5s"]["unaffected_goodput"], 0.98, output)
        self.assertGreater(phases["blackhole"]["unaffected_goodput"], 0.98, output)
        self.assertIsNotNone(run["trip_s"], output)
        self.assertGreater(run["peak_fibers"], 100, output)
        self.assertGreater(run["peak_rss_mib"], 1, output)
        self.assert_nothing_left("figures.json")

    def watch_the_incident(self, demo):
        """Looks at it as an operator would, once A is cut off on both nodes; the demo's whole output."""
        lines = []
        cut_off = set()
        looked = False
        for line in demo.stdout:
            lines.append(line)
            tripped = re.search(r" trip +(\S+) +upstream/A ", line)
            if tripped:
                cut_off.add(tripped.group(1))
            if len(cut_off) == 2 and not looked:
                looked = True
                self.check_explanations(self.addresses())
                self.check_console(self.addresses())
        output = "".join(lines)
        self.assertTrue(looked, output)
        return output

    def check_explanations(self, addresses):
        def penstockctl(*args):
            command = [os.path.join(BUILD, "cli/penstockctl"), "--controller", addresses["controller"], *args]
            return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout

        pool = penstockctl("why", "pool/default")
        self.assertRegex(pool, r"rate [\d.]+/s x latency")
        self.assertRegex(pool, r"x headroom 2")
        limits = {int(limit) for limit in re.findall(r"-> (\d+):", pool)}
        self.assertGreater(len(limits), 1, pool)
        upstream = penstockctl("why", "upstream/A")
        self.assertRegex(upstream, r"usefulness 0\.\d+")
        self.assertIn("open", upstream)
        # The limit that the nodes export is the one that was decided.
        views = json.loads(penstockctl("get", "pools", "-o", "json"))
        views = views if isinstance(views, list) else views["pools"]
        metrics = 0
        for node in addresses["shop"]:
            with urllib.request.urlopen(f"http://{node}/metrics", timeout=10) as answer:
                text = answer.read().decode()
            metrics += int(re.search(r'^penstock_pool_limit\{pool="default"\} (\d+)', text, re.M).group(1))
        (view,) = [view for view in views if view["name"] == "default"]
        self.assertAlmostEqual(metrics, int(view["limit"]), delta=0.25 * metrics)

    def check_console(self, addresses):
        script = os.path.join(SOURCE, "tests/integration/console/check_console.mjs")
        check = subprocess.run(
            ["node", script, addresses["console"], addresses["prometheus"], *CONSOLE_PICTURES],
            capture_output=True, text=True, timeout=120,
        )
        self.assertEqual(check.returncode, 0, check.stdout + check.stderr)

    def test_an_interrupt_leaves_nothing_behind(self):
        demo = self.start("--rate", "50")
        end = time.monotonic() + 60
        while not os.path.exists(self.addresses_file):
            self.assertIsNone(demo.poll(), "ended early")
            self.assertLess(time.monotonic(), end, "no addresses")
            time.sleep(0.05)
        addresses = self.addresses()
        self.assertEqual(len(addresses["shop"]), 2)
        self.assertEqual(set(addresses["third_parties"]), {"A", "B", "C"})
        self.assertTrue(addresses["console"].startswith("http://127.0.0.1:"))
        self.assertTrue(programs_in(self.directory))
        demo.send_signal(signal.SIGINT)
        output, _ = demo.communicate(timeout=30)
        self.assertEqual(demo.returncode, 130, output)
        self.assert_nothing_left()


if __name__ == "__main__":
    unittest.main()
