"""What a request costs that does nothing: our server with routing, deadline, admission and metrics, against the least
that epoll can do, and the servers of the field."""

import contextlib
import tempfile

import peers
import process
import report

CONNECTIONS = (64, 1000)
TARGETS = peers.TARGETS


def run(build, options):
    server_core, load_core = process.cores()
    rows = report.Rows()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-bench-"))
        running = {}
        for subject, (command, address) in peers.all_servers(build, folder, options.subjects).items():
            pid, address = stack.enter_context(process.server(command, server_core, address))
            url = f"http://{address}/hello"
            process.wait_for(url)
            process.wrk(url, 64, 1, load_core)
            running[subject] = (pid, url)
        # Interleaved, so that what else the machine does meets all alike.
        for _ in range(options.runs):
            for connections in CONNECTIONS:
                for subject, (pid, url) in running.items():
                    before = process.cpu_us(pid)
                    load = process.wrk(url, connections, options.seconds, load_core, subject)
                    rows.add(f"{connections} connections", subject,
                             cpu_us_per_request=(process.cpu_us(pid) - before) / load.requests,
                             requests_per_s=load.rate, p50_ms=load.p50_ms, p99_ms=load.p99_ms,
                             timeouts=load.timeouts)
    medians = report.against(rows.medians(), "raw_epoll", "cpu_us_per_request", "cpu_of_raw_epoll")
    return sorted(medians, key=lambda row: CONNECTIONS.index(int(row["case"].split()[0])))
