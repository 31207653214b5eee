"""calling_program.py PORT THREADS: threads that call a third party again and again, and count what comes of it."""

import collections
import http.client
import signal
import sys
import threading
import time

PORT, THREADS = int(sys.argv[1]), int(sys.argv[2])
counts = collections.Counter()
ended = threading.Event()


def call():
    while not ended.is_set():
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
        try:
            connection.request("GET", "/")
            counts[connection.getresponse().status] += 1
        except OSError as error:
            counts[type(error).__name__] += 1
            time.sleep(0.05)
        finally:
            connection.close()


signal.signal(signal.SIGTERM, lambda *_: ended.set())
threads = [threading.Thread(target=call) for _ in range(THREADS)]
for thread in threads:
    thread.start()
while not ended.wait(0.1):
    print(*(f"{what}:{count}" for what, count in counts.items()), flush=True)
for thread in threads:
    thread.join()
