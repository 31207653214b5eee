"""Watches a third party from outside: what it has answered and what is in it, as it counts itself."""

import http.client
import json
import threading
import time

import web

POLL_S = 0.25
# Throughput and calls in flight are taken over so long.
WINDOW_S = 3.0
# At the knee: at least so much of its throughput, from at most so many times the calls in flight.
_THROUGHPUT = 0.9
_IN_FLIGHT = 3.0


class UpstreamWatch(threading.Thread):
    def __init__(self, address):
        super().__init__(daemon=True)
        self._address = address
        self._end = threading.Event()
        # (time, calls answered, calls in flight)
        self.samples = []

    def run(self):
        while not self._end.wait(POLL_S):
            try:
                stats = json.loads(web.get(self._address, "/stats", timeout=2))
            except (OSError, ValueError, http.client.HTTPException):
                continue
            self.samples.append((time.monotonic(), stats["answered"], stats["in_flight"]))

    def stop(self):
        self._end.set()
        self.join()


def throughput(samples, begin, end):
    """Answers per second between the two times; None of fewer than two samples."""
    own = [sample for sample in samples if begin <= sample[0] <= end]
    if len(own) < 2:
        return None
    return (own[-1][1] - own[0][1]) / (own[-1][0] - own[0][0])


def find_knee(samples, begin, end, best_throughput, knee):
    """(seconds from `begin` until the third party worked at its knee, share of the time since that it did); None, None
    when it never did. It answers `best_throughput` a second from `knee` calls in flight, and no more from more."""
    found, held = None, []
    for index, (at, answered, _) in enumerate(samples):
        if at < begin:
            continue
        window = [sample for sample in samples[index:] if sample[0] <= at + WINDOW_S]
        if at + WINDOW_S > end or len(window) < 2:
            break
        answers = (window[-1][1] - answered) / (window[-1][0] - at)
        in_flight = sum(sample[2] for sample in window) / len(window)
        good = answers >= _THROUGHPUT * best_throughput and in_flight <= _IN_FLIGHT * knee
        if good and found is None:
            found = at - begin
        if found is not None:
            held.append(good)
    return (found, sum(held) / len(held)) if held else (None, None)
