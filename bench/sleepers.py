"""What waiting costs: 10,000 requests of one second held at once, and 10,000 idle connections."""

import contextlib
import subprocess
import tempfile
import time

import peers
import process
import report

HELD = 10_000
TARGETS = peers.TARGETS + ["bench-hold"]


@contextlib.contextmanager
def hold(build, address, path, how, core):
    command = ["taskset", "-c", str(core), f"{build}/bench/load/bench-hold", address, path, str(HELD), how]
    load = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if not load.stdout.readline():
            raise SystemExit("bench: the load ended early")
        yield load
        load.stdin.close()
        if load.wait(70) != 0:
            raise SystemExit("bench: the load failed")
    finally:
        load.kill()
        load.wait()


def settled_kib(pid):
    """Resident memory once it has been the same for half a second."""
    before = process.resident_kib(pid)
    for _ in range(40):
        time.sleep(0.5)
        now = process.resident_kib(pid)
        if now == before:
            break
        before = now
    return before


def idle(build, pid, address, load_core):
    at_rest = process.resident_kib(pid)
    with hold(build, address, "/hello", "idle", load_core):
        return {"kib_per_idle_connection": (settled_kib(pid) - at_rest) / HELD}


def sleepers(build, pid, address, load_core):
    """On new connections: what they take counts."""
    at_rest, cpu = process.resident_kib(pid), process.cpu_us(pid)
    with hold(build, address, "/sleep", "once", load_core) as load, process.Watch(pid) as watch:
        load.stdin.write("\n")
        load.stdin.flush()
        wall = float(load.stdout.readline())
    return {"kib_per_in_flight": (watch.resident_kib - at_rest) / HELD, "wall_s": wall,
            "cpu_s": (process.cpu_us(pid) - cpu) / 1e6, "rss_mib": watch.resident_kib / 1024,
            "os_threads": watch.threads}


def run(build, options):
    server_core, load_core = process.cores()
    rows = report.Rows()
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        servers = peers.all_servers(build, folder, options.subjects)
        servers.pop("nginx", None)  # cannot sleep
        for _ in range(options.runs):
            for subject, (command, address) in servers.items():
                for case, measure in (("10000 idle", idle), ("10000 x 1 s", sleepers)):
                    # Each on a new server: what it keeps of one load must not be there at the next.
                    with process.server(command, server_core, address) as (pid, bound):
                        process.wait_for(f"http://{bound}/hello")
                        process.wrk(f"http://{bound}/hello", 8, 1, load_core)
                        rows.add(case, subject, **measure(build, pid, bound, load_core))
    medians = [row for row in rows.medians() if row["case"] == "10000 idle"]
    return medians + report.against([row for row in rows.medians() if row["case"] != "10000 idle"],
                                    "raw_epoll", "wall_s", "wall_of_raw_epoll")
