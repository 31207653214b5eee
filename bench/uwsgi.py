"""A Flask application under uWSGI whose requests wait for a second: a thread each, the same threads as fibers by
penstock-run, and gevent."""

import contextlib
import ctypes
import fcntl
import os
import re
import resource
import socket
import struct
import subprocess
import tempfile

import process
import report
from peers import free_address

CONNECTIONS = (10, 1000, 5000)
TARGETS = ["penstock-run"]
APPLICATION = os.path.join(os.path.dirname(os.path.abspath(__file__)), "servers", "flask_app.py")


CLONE_NEWNET, SIOCSIFFLAGS, IFF_UP = 0x40000000, 0x8914, 1
BACKLOG = 16384


def enter_own_network():
    """One whose listeners may have more connections waiting than the system's, if that is allowed: 5000 come at once."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
    with open("/proc/sys/net/core/somaxconn", "w", encoding="ascii") as limit:
        limit.write(str(BACKLOG))


def backlog():
    with open("/proc/sys/net/core/somaxconn", encoding="ascii") as limit:
        return limit.read().strip()


def command(build, subject, address, connections):
    uwsgi = ["uwsgi", "--plugin", "python3", "--http-socket", address, "--listen", backlog(), "--disable-logging",
             "--die-on-term", "--buffer-size", "4096", "--need-app", "--wsgi-file", APPLICATION]
    if subject == "gevent":
        return uwsgi[:3] + ["--plugin", "gevent_python3"] + uwsgi[3:] + ["--gevent-monkey-patch", "--gevent",
                                                                         str(connections)]
    threads = uwsgi + ["--threads", str(connections)]
    return threads if subject == "threads" else [f"{build}/agents/run/penstock-run", "--service", "flask"] + threads


@contextlib.contextmanager
def serving(build, subject, connections, core, log):
    address = free_address()
    server = subprocess.Popen(["taskset", "-c", str(core)] + command(build, subject, address, connections), stdout=log,
                              stderr=log)
    try:
        process.wait_for(f"http://{address}/hello")
        yield server.pid, address
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def load(address, connections, core):
    """As the founding experiment did: twice as many requests as connections, without keep-alive."""
    said = subprocess.run(["taskset", "-c", str(core), "ab", "-q", "-r", "-s", "60", "-c", str(connections), "-n",
                           str(2 * connections), f"http://{address}/sleep"], capture_output=True, text=True,
                          check=False).stdout
    took = re.search(r"Time taken for tests:\s+([\d.]+)", said)
    if not took:
        raise SystemExit(f"bench: ab ended early\n{said}")
    failed = int(re.search(r"Failed requests:\s+(\d+)", said)[1])
    other = re.search(r"Non-2xx responses:\s+(\d+)", said)
    done = int(re.search(r"Complete requests:\s+(\d+)", said)[1])
    return float(took[1]), failed + (int(other[1]) if other else 0) + 2 * connections - done


def run(build, options):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    enter_own_network()
    server_core, load_core = process.cores()
    rows = report.Rows()
    with tempfile.TemporaryFile() as log:
        for _ in range(options.runs):
            for connections in CONNECTIONS:
                for subject in options.subjects or ("threads", "gevent", "penstock"):
                    with serving(build, subject, connections, server_core, log) as (pid, address):
                        cpu = process.cpu_us(pid)
                        with process.Watch(pid) as watch:
                            wall, failed = load(address, connections, load_core)
                        rows.add(f"{connections} connections", subject, wall_s=wall,
                                 cpu_s=(process.cpu_us(pid) - cpu) / 1e6, rss_mib=watch.resident_kib / 1024,
                                 os_threads=watch.threads, failed=failed)
    return report.against(rows.medians(), "gevent", "cpu_s", "cpu_of_gevent")
