#!/usr/bin/env python3
"""controller_test.py PENSTOCK_RUN CONTROLLER PENSTOCKCTL: an unmodified program is a node of a live controller's."""

import contextlib
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import unittest

RUN, CONTROLLER, CTL = sys.argv[1:4]
HERE = os.path.dirname(os.path.abspath(__file__))
CALLERS, LIMIT = 30, 5
PATIENCE = 30


class ThirdParty(http.server.ThreadingHTTPServer):
    """Answers after 100 ms, and knows how many calls it has at most at a time."""

    daemon_threads = True
    request_queue_size = 200

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.lock = threading.Lock()
        self.now = self.most = self.calls = 0

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            party = self.server
            with party.lock:
                party.now += 1
                party.calls += 1
                party.most = max(party.most, party.now)
            time.sleep(0.1)
            with party.lock:
                party.now -= 1
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_):
            pass

    def over(self, seconds):
        """Calls that came in the next while, and how many there were at most at a time."""
        with self.lock:
            self.most, before = self.now, self.calls
        time.sleep(seconds)
        with self.lock:
            return self.calls - before, self.most


def wait_until(what, condition):
    until = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > until:
            raise AssertionError(what)
        time.sleep(0.05)
    return found


@contextlib.contextmanager
def ending(process):
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            if process.stdout:
                process.stdout.close()


class Controlled(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.log = stack.enter_context(open(os.path.join(self.folder, "log"), "w+", encoding="utf-8"))
        addresses = os.path.join(self.folder, "addresses.json")
        stack.enter_context(ending(subprocess.Popen(
            [CONTROLLER, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--prometheus", "http://127.0.0.1:1",
             "--data", os.path.join(self.folder, "data"), "--addresses", addresses],
            stdout=self.log, stderr=self.log)))
        wait_until("the controller does not start",
                   lambda: os.path.exists(addresses) and os.path.getsize(addresses) > 0)
        with open(addresses, encoding="utf-8") as file:
            self.controller = json.load(file)["grpc"]
        self.party = ThirdParty()
        stack.callback(self.party.server_close)
        stack.callback(self.party.shutdown)
        threading.Thread(target=self.party.serve_forever, daemon=True).start()
        self.stack = stack

    def ctl(self, *arguments, code=0):
        ran = subprocess.run([CTL, "--controller", self.controller, *arguments], capture_output=True, text=True,
                             timeout=60, check=False)
        self.assertEqual(ran.returncode, code, f"{arguments}: {ran.stdout}{ran.stderr}")
        return ran.stdout

    def start(self, threads):
        return subprocess.Popen(
            [RUN, "--service", "crawler", "--node", "spider", "--controller", self.controller, "--threads",
             str(threads), "/usr/bin/python3", os.path.join(HERE, "calling_program.py"),
             str(self.party.server_address[1]), str(CALLERS)], stdout=subprocess.PIPE, stderr=self.log, text=True)

    def apply(self, most):
        path = os.path.join(self.folder, "crawler.yaml")
        with open(path, "w", encoding="ascii") as file:
            file.write(f"""
kind: Policy
metadata: {{name: crawler}}
spec:
  service: crawler
  upstreams:
    - name: source
      match: {{hosts: ["127.0.0.1:{self.party.server_address[1]}"]}}
      limit: {{mode: fixed, max: {most}}}
      timeout: 5s
""")
        self.ctl("apply", "-f", path, "--wait")

    def nodes(self):
        """Those that are connected. The controller remembers others for a while."""
        shown = json.loads(self.ctl("get", "nodes", "--service", "crawler", "-o", "json"))
        return [node["name"] for node in shown["nodes"] if node.get("connected")]

    def test_is_a_node_and_obeys(self):
        for threads in (1, 2):
            with self.subTest(threads=threads):
                self.apply(1000)
                with ending(self.start(threads)) as program:
                    self.obeys(program)

    def obeys(self, program):
        name = wait_until("the program does not join", self.nodes)[0]
        self.assertEqual(name, f"spider-{program.pid}")
        wait_until("it does not call as it likes", lambda: self.party.over(0.5)[1] > LIMIT)

        # A policy that comes while it runs.
        self.apply(LIMIT)
        wait_until("the limit is not obeyed", lambda: self.party.over(0.5)[1] <= LIMIT)
        calls, most = self.party.over(2)
        self.assertLessEqual(most, LIMIT)
        self.assertGreater(calls, 2 * LIMIT)
        self.assertIn("source", self.ctl("get", "upstreams"))

        # What an operator decides.
        self.ctl("breaker", "open", "source", "--ttl", "10m", "--reason", "maintenance")
        wait_until("the breaker lets calls through", lambda: self.party.over(0.5)[0] == 0)
        wait_until("nothing is refused", lambda: "ConnectionRefusedError:" in program.stdout.readline())
        self.ctl("breaker", "auto", "source")
        wait_until("the breaker stays open", lambda: self.party.over(0.5)[0] > 0)

        program.terminate()
        program.stdout.read()
        self.assertEqual(program.wait(20), 0)
        wait_until("it does not leave", lambda: not self.nodes())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
