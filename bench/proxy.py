"""What a request costs that makes one call of 50 ms to a third party, 1000 of them in flight: our server with a guarded
client, against the least that epoll can do, nginx, and Go."""

import contextlib
import os
import tempfile

import peers
import process
import report

IN_FLIGHT = 1000
TARGETS = ["bench-proxy-penstock", "bench-proxy-penstock-interposed", "bench-proxy-raw-epoll", "bench-proxy-upstream"]

NGINX = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr error;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream orders {{
    server {upstream};
    keepalive 2000;
    keepalive_requests 1000000000;
  }}
  server {{
    listen {address} backlog=4096;
    location = /order {{
      proxy_pass http://orders;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_read_timeout 2s;
    }}
  }}
}}
"""


def subjects(build, folder, upstream):
    """Name: command, and its address if it does not print it."""
    port = upstream.rsplit(":", 1)[1]
    url = f"http://{upstream}/order"
    found = {
        "penstock": ([f"{build}/bench/proxy/bench-proxy-penstock", port], None),
        "penstock_interposed": ([f"{build}/bench/proxy/bench-proxy-penstock-interposed", port], None),
        "raw_epoll": ([f"{build}/bench/proxy/bench-proxy-raw-epoll", port], None),
    }
    if peers.has("nginx"):
        address = peers.free_address()
        config = os.path.join(folder, "nginx.conf")
        with open(config, "w", encoding="ascii") as file:
            file.write(NGINX.format(folder=folder, address=address, upstream=upstream))
        found["nginx"] = (["nginx", "-p", folder, "-c", config, "-e", "stderr"], address)
    if peers.has("go"):
        found["go"] = (peers.go(folder, "proxy/main.go") + [url], None)
    return found


def run(build, options):
    server_core, load_core = process.cores()
    rows = report.Rows()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-bench-"))
        _, upstream = stack.enter_context(process.server([f"{build}/bench/proxy/bench-proxy-upstream"], load_core))
        running = {}
        for subject, (command, address) in subjects(build, folder, upstream).items():
            if options.subjects and subject not in options.subjects:
                continue
            pid, address = stack.enter_context(process.server(command, server_core, address))
            url = f"http://{address}/order"
            process.wait_for(url)
            process.wrk(url, 64, 1, load_core)
            at_rest = process.resident_kib(pid)
            process.wrk(url, IN_FLIGHT, 1, load_core)
            # What it holds for requests in flight and both their connections, most of which it keeps afterwards.
            rows.add(f"{IN_FLIGHT} in flight", subject,
                     kib_per_in_flight=(process.resident_kib(pid, "VmHWM") - at_rest) / IN_FLIGHT)
            running[subject] = (pid, url)
        # Interleaved, so that what else the machine does meets all alike.
        for _ in range(options.runs):
            for subject, (pid, url) in running.items():
                before = process.cpu_us(pid)
                load = process.wrk(url, IN_FLIGHT, options.seconds, load_core, subject)
                rows.add(f"{IN_FLIGHT} in flight", subject,
                         cpu_us_per_request=(process.cpu_us(pid) - before) / load.requests,
                         requests_per_s=load.rate, p50_ms=load.p50_ms, p99_ms=load.p99_ms,
                         timeouts=load.timeouts)
    return report.against(rows.medians(), "raw_epoll", "cpu_us_per_request", "cpu_of_raw_epoll")
