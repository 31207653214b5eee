"""The programs of one run, wired to each other."""

import contextlib
import json
import os
import subprocess

import database
import web
from nodes import REPOSITORY, FlaskNodes, ShopNodes
from processes import StartError

# An address for each, so that the policy knows them whatever their port.
THIRD_PARTIES = {"A": "127.0.1.1", "B": "127.0.1.2", "C": "127.0.1.3"}
ADDRESSES_FILE = os.path.join(REPOSITORY, "build/demo/addresses.json")

_NGINX = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/nginx.error.log crit;
events {{ worker_connections 65000; }}
http {{
  access_log off;
  client_body_temp_path {directory}/nginx-body;
  proxy_temp_path {directory}/nginx-proxy;
  fastcgi_temp_path {directory}/nginx-fastcgi;
  uwsgi_temp_path {directory}/nginx-uwsgi;
  scgi_temp_path {directory}/nginx-scgi;
  upstream shop {{
{servers}
    {upstream}
  }}
  server {{
    listen {front} backlog=4096;
    location / {{
      proxy_read_timeout 60s;
      proxy_next_upstream off;
      {location}
    }}
  }}
}}
"""

_PROMETHEUS = """
global:
  scrape_interval: 1s
  scrape_timeout: 1s
  evaluation_interval: 1s
rule_files: {rules}
scrape_configs:
  - job_name: penstock
    http_sd_configs:
      - url: http://{console}/sd
        refresh_interval: 2s
  - job_name: penstock-controller
    static_configs:
      - targets: ["{console}"]
"""


class Binaries:
    """Where a build directory has the programs."""

    def __init__(self, build, app="shop", clients="penstock"):
        self.app = app
        self.clients = clients
        shop = (
            (("penstock_run", "agents/run/penstock-run"),)
            if app == "flask"
            else (("shop_penstock", f"examples/shop/shop-{clients}"), ("shop_threads", "examples/shop/shop-threads"))
        )
        for attribute, path in (
            *shop,
            ("third_party", "examples/third_party/third-party"),
            ("users", "examples/users/shop-users"),
            ("controller", "controller/penstock-controller"),
            ("ctl", "cli/penstockctl"),
        ):
            binary = os.path.join(build, path)
            if not os.access(binary, os.X_OK):
                raise StartError(f"{binary}: not built")
            setattr(self, attribute, binary)


class Stage:
    """Third parties, two nodes behind nginx, and for Penstock the controller and Prometheus. `node_memory`: bytes that a
    node may use, enforced where control groups are to be had."""

    def __init__(self, mode, binaries, programs, ports, seed, policy, shop_args=(), node_memory=None):
        self.mode = mode
        self.binaries = binaries
        self.programs = programs
        self.directory = programs.directory
        self.front = f"127.0.0.1:{ports.pick()}"
        self.third_parties = {name: f"{ip}:{ports.pick(ip)}" for name, ip in THIRD_PARTIES.items()}
        if binaries.app == "flask":
            self.nodes = FlaskNodes(mode, binaries, ports, policy)
        else:
            self.nodes = ShopNodes(mode, binaries, ports, shop_args, node_memory)
        self.grpc = self.console = self.prometheus = None
        if mode == "penstock":
            self.grpc, self.console, self.prometheus = (f"127.0.0.1:{ports.pick()}" for _ in range(3))
        self.database = None
        if self.nodes.needs_database:
            self.database = database.start(programs, ports.pick(), self.nodes.schema)
        self._addresses = None
        self.controller_program = self.prometheus_program = None
        self._start(seed, policy)

    def _start(self, seed, policy):
        for number, (name, address) in enumerate(self.third_parties.items()):
            program = self.programs.start(
                f"third-party-{name}", [self.binaries.third_party, "--listen", address, "--seed", seed + number]
            )
            program.wait_until(lambda a=address: web.answers(a, "/stats"), "answering")
        if self.mode == "penstock":
            self._start_controller()
            # Nobody joins a service that no policy governs.
            self.ctl("apply", "-f", policy)
        self.nodes.start(self)
        if self.mode == "penstock":
            self.ctl("apply", "-f", policy, "--wait")
        self._start_nginx()

    def _start_controller(self):
        self.controller_program = self.programs.start(
            "controller",
            [
                self.binaries.controller,
                "--grpc", self.grpc,
                "--http", self.console,
                "--prometheus", f"http://{self.prometheus}",
                "--scrape-interval", "1s",
                "--data", os.path.join(self.directory, "controller"),
            ],
        )
        self.controller_program.wait_until(lambda: web.answers(self.console, "/healthz"), "answering")
        config = os.path.join(self.directory, "prometheus.yml")
        rules_directory = os.path.join(REPOSITORY, "dashboards/rules")
        rules = sorted(
            os.path.join(rules_directory, name)
            for name in (os.listdir(rules_directory) if os.path.isdir(rules_directory) else [])
            if name.endswith((".yml", ".yaml")) and "test" not in name
        )
        with open(config, "w") as file:
            file.write(_PROMETHEUS.format(console=self.console, rules=json.dumps(rules)))
        self.prometheus_program = self.programs.start(
            "prometheus",
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={self.directory}/prometheus",
                f"--web.listen-address={self.prometheus}",
                "--log.level=warn",
            ],
        )
        self.prometheus_program.wait_until(lambda: web.answers(self.prometheus, "/-/ready"), "ready")

    def _start_nginx(self):
        upstream, location = self.nodes.location()
        config = os.path.join(self.directory, "nginx.conf")
        with open(config, "w") as file:
            file.write(
                _NGINX.format(
                    directory=self.directory,
                    front=self.front,
                    servers="\n".join(f"    server {address} max_fails=0;" for address in self.nodes.front),
                    upstream=upstream,
                    location=location,
                )
            )
        nginx = "/usr/sbin/nginx"
        program = self.programs.start("nginx", [nginx, "-e", f"{self.directory}/nginx.error.log", "-c", config])
        program.wait_until(lambda: web.answers(self.front, "/about"), "answering")

    def ctl(self, *args, timeout=30):
        """Runs penstockctl against the controller; its output."""
        done = subprocess.run(
            [self.binaries.ctl, "--controller", self.grpc, *args], capture_output=True, text=True, timeout=timeout
        )
        if done.returncode != 0:
            raise StartError(f"penstockctl {' '.join(args)}: exit {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def follow_events(self):
        """A penstockctl that prints decisions as they are made, across restarts of the controller."""
        return self.programs.start(
            "events",
            [self.binaries.ctl, "--controller", self.grpc, "events", "-f", "-o", "json"],
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def behave(self, third_party, **behaviour):
        web.put_json(self.third_parties[third_party], "/control", behaviour)

    def calls(self):
        return {name: web.get(address, "/calls", timeout=30) for name, address in self.third_parties.items()}

    def write_addresses(self, path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        addresses = {"shop": list(self.nodes.metrics.values()) or self.nodes.front, "front": self.front, "third_parties": self.third_parties}
        if self.mode == "penstock":
            addresses.update(
                controller=self.grpc, console=f"http://{self.console}", prometheus=f"http://{self.prometheus}"
            )
        self._addresses = json.dumps(addresses, indent=2) + "\n"
        temporary = path + ".new"
        with open(temporary, "w") as file:
            file.write(self._addresses)
        os.replace(temporary, path)

    def remove_addresses(self, path):
        """Unless another demo has written its own there."""
        with contextlib.suppress(FileNotFoundError):
            with open(path) as file:
                ours = file.read() == self._addresses
            if ours:
                os.remove(path)
