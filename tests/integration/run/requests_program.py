"""requests_program.py PORT: what python3-requests says of a third party that never answers, to a few threads at a time."""

import collections
import sys
import threading
import time

import requests

URL = f"http://127.0.0.1:{sys.argv[1]}/"
THREADS, ROUNDS = 10, 3


def call(said):
    began = time.monotonic()
    try:
        requests.get(URL, timeout=30)
        how = "answered"
    except requests.RequestException as error:
        refused = "refused" if "Connection refused" in str(error) else ""
        how = f"{type(error).__name__} {refused}".strip()
    said.append(f"{how} {'at once' if time.monotonic() - began < 0.5 else 'later'}")


for _ in range(ROUNDS):
    said = []
    threads = [threading.Thread(target=call, args=(said,)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(*(f"{count} {how}" for how, count in sorted(collections.Counter(said).items())), sep=", ", flush=True)
