"""What the demo says while it runs."""

import os
import sys
import threading
import time

_COLOURS = {"phase": "\033[1;36m", "warn": "\033[33m", "bad": "\033[31m", "good": "\033[32m"}
_RESET = "\033[0m"


class Console:
    def __init__(self, plain):
        self._colours = not plain and sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._lock = threading.Lock()
        self._start = time.monotonic()

    def say(self, who, message, kind=None):
        seconds = time.monotonic() - self._start
        if self._colours and kind:
            message = f"{_COLOURS[kind]}{message}{_RESET}"
        with self._lock:
            print(f"{int(seconds) // 60:2}:{seconds % 60:04.1f}  {who:11} {message}", flush=True)

    def print(self, text=""):
        with self._lock:
            print(text, flush=True)
