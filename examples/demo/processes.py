"""The programs of a demo: started in sessions of their own, and all gone at the end, however it ends."""

import ctypes
import os
import random
import resource
import signal
import socket
import subprocess
import time

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
# Descriptors that a program may have, where more than the usual limit can be had.
_DESCRIPTORS = 65536


class StartError(RuntimeError):
    pass


def _in_child():
    # Dies with the demo even when the demo is killed. Bound to the thread that starts it: the main one.
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(hard, _DESCRIPTORS),) * 2)
    except ValueError:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Ports:
    """Free ports below the range that the kernel takes for outgoing connections."""

    def __init__(self):
        self._taken = set()
        self._random = random.Random()

    def pick(self, address="127.0.0.1"):
        for _ in range(1000):
            port = self._random.randrange(20000, 32000)
            if (address, port) in self._taken:
                continue
            with socket.socket() as probe:
                try:
                    probe.bind((address, port))
                except OSError:
                    continue
            self._taken.add((address, port))
            return port
        raise StartError(f"no free port on {address}")


class Program:
    def __init__(self, name, args, log_path, popen_args):
        self.name = name
        self.args = args
        self.log_path = log_path
        self._popen_args = popen_args
        self.process = None
        self.start()

    def start(self):
        with open(self.log_path, "ab") as log:
            options = {"stdout": log, "stderr": log, **self._popen_args}
            also = options.pop("preexec_fn", None)

            def in_child():
                _in_child()
                if also is not None:
                    also()

            self.process = subprocess.Popen(
                self.args, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=in_child, **options
            )

    @property
    def pid(self):
        return self.process.pid

    def signal_group(self, number):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def log_tail(self, lines=15):
        with open(self.log_path, errors="replace") as log:
            return "".join(log.readlines()[-lines:])

    def wait_until(self, ready, what, seconds=20):
        end = time.monotonic() + seconds
        while not ready():
            if self.process.poll() is not None:
                raise StartError(f"{self.name} ended with {self.process.returncode}:\n{self.log_tail()}")
            if time.monotonic() > end:
                raise StartError(f"{self.name}: not {what} within {seconds} s:\n{self.log_tail()}")
            time.sleep(0.05)


class Programs:
    """Those that run. Leaving the context ends them."""

    def __init__(self, directory):
        self.directory = directory
        self._running = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self, name, args, **popen_args):
        program = Program(name, [str(arg) for arg in args], os.path.join(self.directory, f"{name}.log"), popen_args)
        self._running.append(program)
        return program

    def stop(self, grace=3.0):
        # Last started, first ended; all get the same grace.
        for program in reversed(self._running):
            program.signal_group(signal.SIGTERM)
        end = time.monotonic() + grace
        for program in self._running:
            try:
                program.process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
            program.signal_group(signal.SIGKILL)
            program.process.wait()
            if program.process.stdout is not None:
                program.process.stdout.close()
        self._running = []
