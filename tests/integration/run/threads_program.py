"""What a Python program may do with threads; prints what it has seen, which must not depend on what its threads are."""

import os
import queue
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor


def in_threads(count, function):
    threads = [threading.Thread(target=function, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def locks():
    done, lock, again = [], threading.Lock(), threading.RLock()

    def work(i):
        time.sleep(0.2)
        with again, again, lock:
            done.append(i)

    began = time.monotonic()
    in_threads(500, work)
    return len(done), time.monotonic() - began < 5


def processes():
    said = queue.Queue()
    in_threads(5, lambda i: said.put(subprocess.run(["echo", str(i)], capture_output=True, text=True).stdout))
    try:
        said.get(timeout=0.05) and said.get(timeout=0.05)
        said.get(), said.get(), said.get()
        said.get(timeout=0.05)
    except queue.Empty:
        return "empty"


def signals():
    came = []
    signal.signal(signal.SIGUSR1, lambda *_: came.append(1))
    threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGUSR1)).start()
    time.sleep(0.2)
    return came


def forks():
    ends = queue.Queue()

    def fork(_):
        child = os.fork()
        if child == 0:
            in_threads(1, lambda i: time.sleep(0.01))
            os._exit(3 if threading.current_thread() is threading.main_thread() else 4)
        ends.put(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    fork(0)
    in_threads(2, fork)
    return [ends.get(timeout=5) for _ in range(3)]


def events():
    event, local = threading.Event(), threading.local()
    threading.Timer(0.05, event.set).start()
    seen = []

    def keep(i):
        local.value = i
        time.sleep(0.01)
        seen.append(local.value == i)

    in_threads(20, keep)
    with ThreadPoolExecutor(50) as pool:
        total = sum(pool.map(lambda i: (time.sleep(0.02), i)[1], range(100)))
    return event.wait(5), all(seen), total


def sockets():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(_):
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(0.1)
                try:
                    connection.recv(10)
                except TimeoutError:
                    connection.sendall(b"timeout")

        thread = threading.Thread(target=serve, args=(0,))
        thread.start()
        with socket.create_connection(listener.getsockname()) as client:
            said = client.recv(10)
        thread.join()
        return said


for part in (locks, processes, signals, forks, events, sockets):
    print(part.__name__, part(), flush=True)
