"""The experiment that this project began with: a handler that waits for a second, in Flask under uWSGI with 1000 threads
and with gevent, and on our fibers, under ab and h2load."""

import contextlib
import os
import re
import subprocess
import tempfile

import peers
import process
import report

TARGETS = peers.TARGETS
CONNECTIONS = (10, 1000, 5000, 10_000)
THREADS = 1000
UWSGI = ["uwsgi", "--disable-logging", "--die-on-term", "--listen", "4096", "--plugin", "python3"]
# Of ab; h2load takes a connection that the server closes, as uWSGI does, for a failure, and asks once on each.
ROUNDS = 2


def uwsgi(folder, *options):
    address = peers.free_address()
    return UWSGI + [*options, "--logto", os.path.join(folder, "uwsgi.log"), "--http-socket", address,
                    "--wsgi-file", os.path.join(peers.SERVERS, "flask_app.py")], address


def subjects(build, folder):
    found = peers.all_servers(build, folder, ["penstock", "raw_epoll"])
    if peers.has("uwsgi"):
        found["uwsgi_threads"] = uwsgi(folder, "--threads", str(THREADS))
        found["uwsgi_gevent"] = uwsgi(folder, "--plugin", "gevent_python3", "--gevent", "10100",
                                      "--gevent-monkey-patch")
    else:
        print("left out: uwsgi is not installed (scripts/setup --bench)")
    return found


def seconds(command, pattern, failures):
    """What the load says that it took. Failed requests end the benchmark."""
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    took, failed = re.search(pattern, ended.stdout), re.search(failures, ended.stdout)
    if ended.returncode != 0 or not took or (failed and int(failed[1]) != 0):
        raise RuntimeError(" ".join((ended.stdout + ended.stderr).split())[-200:])
    number, unit = took.groups()
    return float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1, "seconds": 1}[unit]


def ab(url, connections, core):
    return seconds(["taskset", "-c", str(core), "ab", "-q", "-s", "60", "-n", str(ROUNDS * connections),
                    "-c", str(connections), url],
                   r"Time taken for tests:\s+([\d.]+) (seconds)", r"Failed requests:\s+(\d+)")


def h2load(url, connections, core):
    return seconds(["taskset", "-c", str(core), "h2load", "--h1", "-n", str(connections),
                    "-c", str(connections), url],
                   r"finished in ([\d.]+)(us|ms|s),", r"(\d+) failed")


def run(build, options):
    server_core, load_core = process.cores()
    rows = report.Rows()
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        for _ in range(options.runs):
            for connections in CONNECTIONS:
                for name, load in (("ab", ab), ("h2load", h2load)):
                    for subject, (command, address) in subjects(build, folder).items():
                        if options.subjects and subject not in options.subjects:
                            continue
                        if subject == "raw_epoll" and name == "ab":
                            continue  # it knows only kept connections
                        with contextlib.ExitStack() as stack:
                            pid, bound = stack.enter_context(process.server(command, server_core, address))
                            process.wait_for(f"http://{bound}/hello")
                            before = process.cpu_us(pid)
                            watch = stack.enter_context(process.Watch(pid))
                            case = f"{name} c={connections}"
                            try:
                                wall = load(f"http://{bound}/sleep", connections, load_core)
                            except RuntimeError as error:
                                print(f"{case}, {subject}: failed: {error}")
                                continue
                            rows.add(case, subject, wall_s=wall, cpu_s=(process.cpu_us(pid) - before) / 1e6,
                                     rss_mib=watch.resident_kib / 1024, os_threads=watch.threads)
    return report.against(rows.medians(), "raw_epoll", "wall_s", "wall_of_raw_epoll")
