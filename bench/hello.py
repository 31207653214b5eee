"""What a request costs that does nothing: our server with routing, deadline, admission and metrics, against the least
that epoll can do, and nginx."""

import contextlib
import os
import socket
import tempfile

import process
import report

CONNECTIONS = (64, 1000)
TARGETS = ["bench-hello-penstock", "bench-hello-raw-epoll"]

NGINX = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen {address} backlog=4096;
    location = /hello {{ default_type text/plain; return 200 "Hello, world!\\n"; }}
  }}
}}
"""


def free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def subjects(build, folder):
    address = free_address()
    config = os.path.join(folder, "nginx.conf")
    with open(config, "w", encoding="ascii") as file:
        file.write(NGINX.format(folder=folder, address=address))
    return {
        "penstock": (["%s/bench/hello/bench-hello-penstock" % build], None),
        "raw_epoll": (["%s/bench/hello/bench-hello-raw-epoll" % build], None),
        "nginx": (["nginx", "-p", folder, "-c", config, "-e", "stderr"], address),
    }


def run(build, options):
    server_core, load_core = process.cores()
    rows = report.Rows()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-bench-"))
        running = {}
        for subject, (command, address) in subjects(build, folder).items():
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
                    requests, rate, p99_ms = process.wrk(url, connections, options.seconds, load_core)
                    rows.add(f"{connections} connections", subject,
                             cpu_us_per_request=(process.cpu_us(pid) - before) / requests,
                             requests_per_second=rate, p99_ms=p99_ms)
    medians = rows.medians()
    base = {row["case"]: row["metrics"]["cpu_us_per_request"] for row in medians if row["subject"] == "raw_epoll"}
    for row in medians:
        row["metrics"]["cpu_of_raw_epoll"] = round(row["metrics"]["cpu_us_per_request"] / base[row["case"]], 3)
    return sorted(medians, key=lambda row: CONNECTIONS.index(int(row["case"].split()[0])))
