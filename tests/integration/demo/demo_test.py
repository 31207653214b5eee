"""The demo with short phases: real programs, real sockets, a real Prometheus and nginx."""

import glob
import json
import os
import signal
import subprocess
import tempfile
import time
import unittest

SOURCE = os.environ["PENSTOCK_SOURCE"]
BUILD = os.environ["PENSTOCK_BUILD"]
ADDRESSES = os.path.join(SOURCE, "build/demo/addresses.json")


def start(*args):
    command = [os.path.join(SOURCE, "scripts/demo"), "--headless", "--app-build", BUILD, *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def directories_of_demos():
    return set(glob.glob(os.path.join(tempfile.gettempdir(), "penstock-demo-*")))


def programs_in(directories):
    """Command lines of the processes that name one of the directories."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, errors="replace") as file:
                command = file.read().replace("\0", " ")
        except OSError:
            continue
        if any(directory in command for directory in directories):
            found.append(command)
    return found


class Demo(unittest.TestCase):
    def setUp(self):
        self.before = directories_of_demos()

    def assert_nothing_left(self, directories):
        self.assertEqual(directories_of_demos() - self.before, set())
        self.assertEqual(programs_in(directories), [])
        self.assertFalse(os.path.exists(ADDRESSES))

    def test_the_incident_is_survived(self):
        with tempfile.TemporaryDirectory() as directory:
            figures = os.path.join(directory, "figures.json")
            demo = start("--quick", "--json", figures)
            output, _ = demo.communicate()
            self.assertEqual(demo.returncode, 0, output)
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
        self.assert_nothing_left(directories_of_demos() - self.before)

    def test_an_interrupt_leaves_nothing_behind(self):
        demo = start("--rate", "50")
        try:
            end = time.monotonic() + 60
            while not os.path.exists(ADDRESSES):
                self.assertIsNone(demo.poll(), "ended early")
                self.assertLess(time.monotonic(), end, "no addresses")
                time.sleep(0.05)
            with open(ADDRESSES) as file:
                addresses = json.load(file)
            self.assertEqual(len(addresses["shop"]), 2)
            self.assertEqual(set(addresses["third_parties"]), {"A", "B", "C"})
            self.assertTrue(addresses["console"].startswith("http://127.0.0.1:"))
            directories = directories_of_demos() - self.before
            self.assertTrue(programs_in(directories))
        finally:
            demo.send_signal(signal.SIGINT)
            output, _ = demo.communicate(timeout=30)
        self.assertEqual(demo.returncode, 130, output)
        self.assert_nothing_left(directories)


if __name__ == "__main__":
    unittest.main()
