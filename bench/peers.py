"""The servers that the benchmarks compare: ours, the yardstick, and what of the peers is installed (`scripts/setup
--bench` installs all)."""

import os
import shutil
import socket
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
SERVERS = os.path.join(HERE, "servers")
TARGETS = ["bench-server-penstock", "bench-server-penstock-interposed", "bench-server-raw-epoll",
           "bench-server-beast-async", "bench-server-asio-spawn"]

NGINX = """
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/pid;
error_log stderr error;
events {{ worker_connections 15000; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
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


def has(program):
    return shutil.which(program) is not None


def has_gevent():
    """Debian's, of Debian's Python."""
    return subprocess.run(["/usr/bin/python3", "-c", "import gevent"], check=False, capture_output=True).returncode == 0


def nginx(folder):
    address = free_address()
    config = os.path.join(folder, "nginx.conf")
    with open(config, "w", encoding="ascii") as file:
        file.write(NGINX.format(folder=folder, address=address))
    return ["nginx", "-p", folder, "-c", config, "-e", "stderr"], address


def go(folder, source):
    """Builds a program of this folder; the cache of the compiler is the user's."""
    program = os.path.join(folder, source.removesuffix(".go").replace("/", "-"))
    subprocess.run(["go", "build", "-o", program, os.path.join(HERE, source)], check=True)
    return [program]


def all_servers(build, folder, wanted=None):
    """Name → (command, address if it does not print one). Says which peers are left out, and why."""
    ours = f"{build}/bench/servers/bench-server-"
    made = {
        "penstock": lambda: ([ours + "penstock"], None),
        "penstock_interposed": lambda: ([ours + "penstock-interposed"], None),
        "raw_epoll": lambda: ([ours + "raw-epoll"], None),
        "nginx": lambda: nginx(folder) if has("nginx") else None,
        "beast_async": lambda: ([ours + "beast-async"], None),
        "asio_spawn": lambda: ([ours + "asio-spawn"], None),
        "go": lambda: (go(folder, "servers/server.go"), None) if has("go") else None,
        "node": lambda: (["node", os.path.join(SERVERS, "server.mjs")], None) if has("node") else None,
        "gevent": lambda: (["/usr/bin/python3", "-B", os.path.join(SERVERS, "gevent_server.py")], None)
                  if has_gevent() else None,
    }
    servers = {}
    for name, make in made.items():
        if wanted is not None and name not in wanted:
            continue
        server = make()
        if server is None:
            print(f"left out: {name} is not installed (scripts/setup --bench)")
        else:
            servers[name] = server
    return servers
