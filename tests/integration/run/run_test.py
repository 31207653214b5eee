#!/usr/bin/env python3
"""run_test.py PENSTOCK_RUN FOLDER: unmodified programs, plain and by penstock-run, do the same; their threads are few."""

import os
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

RUN, FOLDER = sys.argv[1], sys.argv[2]
HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = "/usr/bin/python3"
# Of the kernel, that run those of the program.
THREADS = (1, 2, 4)


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


def threads_of(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


class Started:
    """A program by penstock-run that prints a line when it is ready."""

    def __init__(self, *command, threads=1):
        self.process = subprocess.Popen([RUN, "--stats", "--threads", str(threads), *command], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        self.first_line = self.process.stdout.readline().strip()

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        try:
            return self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise


class Same(unittest.TestCase):
    """What a program prints does not depend on who runs it."""

    def assert_same(self, told, *command, status=0):
        plain = run(*command)
        self.assertEqual(plain.returncode, status, plain.stdout + plain.stderr)
        for threads in THREADS:
            with self.subTest(threads=threads):
                fibers = run(RUN, "--stats", "--threads", str(threads), *command)
                self.assertEqual(fibers.returncode, status, fibers.stdout + fibers.stderr)
                self.assertEqual(plain.stdout, fibers.stdout)
                self.assertRegex(fibers.stderr, told)

    def test_all_of_pthread(self):
        self.assert_same(r"[0-9]+ threads were fibers, at most 1000 at a time", os.path.join(FOLDER, "threads_program"))

    def test_conformance(self):
        self.assert_same("threads were fibers", os.path.join(FOLDER, "conformance_program"))

    def test_signals(self):
        self.assert_same("11 threads were fibers", os.path.join(FOLDER, "signals_program"))

    def test_python(self):
        self.assert_same("threads were fibers", PYTHON, os.path.join(HERE, "threads_program.py"))

    def test_the_first_thread_ends_before_others(self):
        for how in ("exits", "cancelled"):
            self.assert_same("1 threads were fibers", os.path.join(FOLDER, "ends_without_main"), how)

    def test_libraries_with_data_of_kernel_threads_that_are_loaded_at_run_time(self):
        library = os.path.join(FOLDER, "liblibrary_with_kernel_data.so")
        for when, told in (("before", "threads stay threads of the kernel: "), ("after", "loaded after the first fiber was made")):
            self.assert_same(told, os.path.join(FOLDER, "loads_a_library"), when, library)

    def test_a_library_that_makes_a_thread_while_it_is_loaded(self):
        library = os.path.join(FOLDER, "liblibrary_with_own_threads.so")
        self.assert_same("2 threads were fibers", os.path.join(FOLDER, "computes"), library)

    def test_a_library_whose_threads_look_for_each_other_again_and_again(self):
        program, library = os.path.join(FOLDER, "computes"), os.path.join(FOLDER, "liblibrary_with_own_threads.so")
        for threads in THREADS:
            with self.subTest(threads=threads):
                ran = run(RUN, "--stats", "--threads", str(threads), "--plain-threads", "other", "--plain-threads",
                          "library_with_own", program, library, "computes")
                self.assertEqual((ran.returncode, ran.stdout), (0, "loaded\n42\nin turn\n"), ran.stderr)
                self.assertIn("3 threads were fibers", ran.stderr)

    def test_any_thread_ends_the_process(self):
        for last in range(1, 5):
            self.assert_same(f"{last} threads were fibers", os.path.join(FOLDER, "exits_in_a_thread"), str(last),
                             status=last)


class Parallel(unittest.TestCase):
    def test_threads_of_the_kernel_run_at_once(self):
        for threads in THREADS:
            ran = run(RUN, "--threads", str(threads), os.path.join(FOLDER, "at_once"), str(threads))
            self.assertEqual((ran.returncode, ran.stdout), (0, f"{threads} at once\n"), ran.stderr)


class Unchanged(unittest.TestCase):
    """Programs that cannot be helped are said so, and run as ever."""

    def assert_unchanged(self, program, why):
        ran = run(RUN, program)
        self.assertEqual(ran.returncode, 0)
        self.assertEqual(ran.stdout, "42\n")
        self.assertRegex(ran.stderr, "penstock-run: runs it unchanged: .*" + why)

    def test_thread_local_data_of_the_program(self):
        self.assert_unchanged(os.path.join(FOLDER, "own_thread_data"), "bytes of thread_local data")

    def test_thread_local_data_of_a_library(self):
        # Its threads are as small as can be, and what is loaded beside leaves them enough of their stacks.
        ran = run(RUN, os.path.join(FOLDER, "small_stacks"))
        self.assertEqual((ran.returncode, ran.stdout), (0, "42\n"), ran.stderr)
        self.assertRegex(ran.stderr, "threads stay threads of the kernel: .*library_with_kernel_data.* thread_local data")

    def test_static_program(self):
        self.assert_unchanged(os.path.join(FOLDER, "static_program"), "linked statically")

    def test_program_without_threads(self):
        ran = run(RUN, "--stats", PYTHON, "-c", "print('hello')")
        self.assertEqual((ran.returncode, ran.stdout), (0, "hello\n"))
        self.assertIn("made no threads: it ran unchanged", ran.stderr)

    def test_says_nothing_of_data_that_no_thread_is_made_for(self):
        library = os.path.join(FOLDER, "liblibrary_with_kernel_data.so")
        ran = run(RUN, PYTHON, "-c", "print('hello')", env={**os.environ, "LD_PRELOAD": library})
        self.assertEqual((ran.returncode, ran.stdout, ran.stderr), (0, "hello\n", ""))

    def test_no_program(self):
        ran = run(RUN, "/no/such/program")
        self.assertEqual(ran.returncode, 127)
        self.assertIn("/no/such/program", ran.stderr)

    def test_bad_options(self):
        for options in (["--listen", "x"], ["--nonsense", "1"], ["--threads", "0"], ["--listen", "99999"], [],
                        ["--plain-threads", "/lib/x.so", "true"], ["--plain-threads", "", "true"]):
            self.assertEqual(run(RUN, *options).returncode, 2, options)


class Guarded(unittest.TestCase):
    """Third parties of the policy, called by a client that knows nothing of it."""

    POLICY = """
kind: Policy
metadata: {name: calls}
spec:
  service: calls
  upstreams:
    - name: dead
      match: {hosts: [127.0.0.1]}
      timeout: 1s
      breaker: {errorRatio: 0.5, minCalls: 5, open: 60s}
"""

    @unittest.skipUnless(run(PYTHON, "-c", "import requests").returncode == 0, "python3-requests is not installed")
    def test_requests_to_who_never_answers(self):
        with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0), backlog=100) as peer:
            policy = os.path.join(folder, "policy.yaml")
            with open(policy, "w", encoding="ascii") as file:
                file.write(self.POLICY)
            ran = run(RUN, "--service", "calls", "--policy", policy, PYTHON, os.path.join(HERE, "requests_program.py"),
                      str(peer.getsockname()[1]))
        # From the very first on they end at the policy's time, not after the 30 s of the program's own; then all are
        # refused.
        self.assertEqual(ran.stdout, "10 ReadTimeout later\n" + 2 * "10 ConnectionError refused at once\n", ran.stderr)
        self.assertEqual(ran.returncode, 0, ran.stderr)


class Server(unittest.TestCase):
    """A thread for each connection, on few of the kernel."""

    CONNECTIONS = 1000

    def test_serves_and_shows_its_threads(self):
        for threads in THREADS:
            with self.subTest(threads=threads):
                self.serve(threads)

    def serve(self, threads):
        resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
        server = Started(os.path.join(FOLDER, "thread_per_connection"), threads=threads)
        sockets = []
        try:
            began = time.monotonic()
            for _ in range(self.CONNECTIONS):
                one = socket.create_connection(("127.0.0.1", int(server.first_line)))
                one.sendall(b"hello\n")
                sockets.append(one)
            self.assertLess(threads_of(server.process.pid), 20)
            for one in sockets:
                one.settimeout(20)
                self.assertEqual(one.recv(100), b"hello\n")
            self.assertLess(time.monotonic() - began, 15)
            # The node tells its address first.
            line = server.process.stderr.readline()
            address = re.search(r"http://(127\.0\.0\.1:[0-9]+)/metrics", line)[1]
            metrics = urllib.request.urlopen(f"http://{address}/metrics", timeout=10).read().decode()
            self.assertGreaterEqual(float(re.search(r"^penstock_fibers ([0-9.e+]+)$", metrics, re.M)[1]),
                                    self.CONNECTIONS)
            dump = urllib.request.urlopen(f"http://{address}/debug/fibers", timeout=10).read().decode()
            self.assertIn("for data to read", dump)
        finally:
            for one in sockets:
                one.close()
            out, err = server.stop()
        self.assertEqual(out, f"served {self.CONNECTIONS}\n")
        self.assertEqual(server.process.returncode, 0)
        self.assertIn(f"{self.CONNECTIONS} threads were fibers", err)


@unittest.skipUnless(shutil.which("uwsgi"), "uWSGI is not installed")
class Uwsgi(unittest.TestCase):
    """Processes that a master forks, each with its threads as fibers."""

    def start(self, *options, threads=1):
        self.address = f"127.0.0.1:{free_port()}"
        self.log = tempfile.TemporaryFile("w+", encoding="utf-8")
        self.addCleanup(self.log.close)
        self.server = subprocess.Popen(
            [RUN, "--stats", "--threads", str(threads), "uwsgi", "--plugin", "python3", "--http-socket", self.address,
             "--master", "--processes", "2", "--threads", "100", "--die-on-term", "--disable-logging", "--need-app",
             "--wsgi-file", os.path.join(HERE, "sleepy.py"), *options], stdout=self.log, stderr=self.log)
        self.addCleanup(self.stop)
        self.eventually(lambda: run("curl", "-sf", f"http://{self.address}/").returncode == 0)

    def stop(self):
        self.server.terminate()
        try:
            self.server.wait(20)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()
            raise

    def eventually(self, true, seconds=20):
        until = time.monotonic() + seconds
        while not true():
            self.assertLess(time.monotonic(), until, self.said())
            time.sleep(0.05)

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def workers(self):
        with open(f"/proc/{self.server.pid}/task/{self.server.pid}/children", encoding="ascii") as file:
            return file.read().split()

    def assert_serves(self, count):
        said = run("ab", "-q", "-r", "-c", "100", "-n", str(count), f"http://{self.address}/").stdout
        self.assertRegex(said, rf"Complete requests:\s+{count}\n")
        self.assertRegex(said, r"Failed requests:\s+0\n")
        self.assertNotIn("Non-2xx", said)

    def test_serves_and_stops(self):
        self.start()
        self.assert_serves(300)
        workers = self.workers()
        self.assertEqual(len(workers), 2)
        for worker in workers:
            self.assertLess(threads_of(worker), 20)
        self.stop()
        for worker in workers:
            self.assertFalse(os.path.exists(f"/proc/{worker}/task"))

    def test_workers_that_served_enough_are_replaced(self):
        for threads in (1, 2):
            with self.subTest(threads=threads):
                # Python's finalization would wait for its main thread, also with plain threads, if no other thread was in
                # a request when the last one ends.
                self.start("--max-requests", "200", "--min-worker-lifetime", "1", "--worker-reload-mercy", "10",
                           "--skip-atexit-teardown", threads=threads)
                first = self.workers()
                time.sleep(1)
                # Whichever thread gets to that number ends the process, with all others cancelled and joined.
                self.assert_serves(1000)
                self.assertFalse(set(first) & set(self.workers()))
                self.stop()
                self.assertIn("The work of process", self.said())
                self.assert_nobody_was_killed()

    def test_reload(self):
        for threads in (1, 2):
            with self.subTest(threads=threads):
                self.start("--worker-reload-mercy", "10", threads=threads)
                first = self.workers()
                self.server.send_signal(signal.SIGHUP)
                self.eventually(lambda: "gracefully (RE)spawned uWSGI master" in self.said())
                self.eventually(lambda: len(self.workers()) == 2)
                self.assertFalse(set(first) & set(self.workers()))
                self.assert_serves(200)
                self.stop()
                self.assert_nobody_was_killed()

    def assert_nobody_was_killed(self):
        for bad in ("NO MERCY", "DAMN", "terminate called"):
            self.assertNotIn(bad, self.said())

    def test_a_worker_that_hangs_is_killed(self):
        self.start("--harakiri", "1")
        self.assertNotEqual(run("curl", "-s", f"http://{self.address}/hang").returncode, 0)
        self.assertIn("HARAKIRI ON", self.said())
        self.eventually(lambda: len(self.workers()) == 2)
        self.assert_serves(200)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@unittest.skipUnless(shutil.which("stunnel4"), "stunnel is not installed")
class Stunnel(unittest.TestCase):
    """A thread for each connection, OpenSSL on both sides of it, slow peers."""

    CONNECTIONS = 100

    def serve_slowly(self, listener):
        def answer(connection):
            with connection:
                said = connection.recv(100)
                time.sleep(0.5)
                connection.sendall(said)

        for _ in range(self.CONNECTIONS):
            threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    def test_relays(self):
        with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0), backlog=200) as peer:
            pem = os.path.join(folder, "both.pem")
            made = run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", pem, "-out", pem + ".crt",
                       "-days", "2", "-subj", "/CN=localhost")
            self.assertEqual(made.returncode, 0, made.stderr)
            with open(pem, "a", encoding="ascii") as both, open(pem + ".crt", encoding="ascii") as certificate:
                both.write(certificate.read())
            port = free_port()
            settings = os.path.join(folder, "stunnel.conf")
            with open(settings, "w", encoding="ascii") as file:
                file.write(f"foreground = yes\npid =\n[relay]\naccept = 127.0.0.1:{port}\n"
                           f"connect = 127.0.0.1:{peer.getsockname()[1]}\ncert = {pem}\n")
            threading.Thread(target=self.serve_slowly, args=(peer,), daemon=True).start()
            with open(os.path.join(folder, "log"), "w+", encoding="utf-8") as log:
                process = subprocess.Popen([RUN, "--stats", "stunnel4", settings], stdout=log, stderr=log)
                try:
                    self.relay(port, process.pid)
                finally:
                    process.terminate()
                    self.assertEqual(process.wait(20), 0)
                log.seek(0)
                self.assertIn("threads were fibers", log.read())

    def relay(self, port, pid):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        until = time.monotonic() + 20
        sockets = []
        while len(sockets) < self.CONNECTIONS:
            try:
                sockets.append(socket.create_connection(("127.0.0.1", port)))
            except ConnectionRefusedError:
                self.assertLess(time.monotonic(), until)
                time.sleep(0.05)
        streams = [context.wrap_socket(one) for one in sockets]
        for stream in streams:
            stream.settimeout(20)
            stream.sendall(b"hello")
        self.assertLess(threads_of(pid), 20)
        for stream in streams:
            self.assertEqual(stream.recv(100), b"hello")
            stream.close()


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
