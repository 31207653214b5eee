"""The programs of one run, wired to each other."""

import contextlib
import json
import os
import subprocess

import database
import web
from memory_group import MemoryGroup
from processes import StartError

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NODES = ("shop-1", "shop-2")
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
{keepalive}
  }}
  server {{
    listen {front} backlog=4096;
    location / {{
      proxy_pass http://shop;
      proxy_read_timeout 60s;
      proxy_next_upstream off;
{connection}
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

    def __init__(self, build, clients="penstock"):
        self.clients = clients
        for attribute, path in (
            ("shop_penstock", f"examples/shop/shop-{clients}"),
            ("shop_threads", "examples/shop/shop-threads"),
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

    def __init__(self, mode, binaries, programs, ports, seed, shop_args=(), node_memory=None):
        self.mode = mode
        self.binaries = binaries
        self.programs = programs
        self.directory = programs.directory
        self.front = f"127.0.0.1:{ports.pick()}"
        self.third_parties = {name: f"{ip}:{ports.pick(ip)}" for name, ip in THIRD_PARTIES.items()}
        self.nodes = {name: f"127.0.0.1:{ports.pick()}" for name in NODES}
        self.grpc = self.console = self.prometheus = None
        if mode == "penstock":
            self.grpc, self.console, self.prometheus = (f"127.0.0.1:{ports.pick()}" for _ in range(3))
        self.database = None
        if mode == "penstock" and binaries.clients == "libcurl":
            self.database = database.start(programs, ports.pick())
        self.node_programs = {}
        self._shop_args = shop_args
        self._node_memory = node_memory
        self._groups = []
        self._addresses = None
        self.controller_program = self.prometheus_program = None
        self._start(seed)

    def _start(self, seed):
        for number, (name, address) in enumerate(self.third_parties.items()):
            program = self.programs.start(
                f"third-party-{name}", [self.binaries.third_party, "--listen", address, "--seed", seed + number]
            )
            program.wait_until(lambda a=address: web.answers(a, "/stats"), "answering")
        if self.mode == "penstock":
            self._start_controller()
        self._start_nodes()
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

    def _start_nodes(self):
        third_parties = ",".join(f"{name}=http://{address}" for name, address in self.third_parties.items())
        environment = os.environ if self.database is None else {**os.environ, "SHOP_DATABASE": self.database}
        for name, address in self.nodes.items():
            if self.mode == "penstock":
                args = [self.binaries.shop_penstock, "--controller", self.grpc, "--node", name]
            else:
                args = [self.binaries.shop_threads]
            args += ["--listen", address, "--third-parties", third_parties, *self._shop_args]
            group = self._limit_memory(name)
            program = self.programs.start(name, args, env=environment, **({"preexec_fn": group.enter} if group else {}))
            program.wait_until(lambda a=address: web.answers(a, "/about"), "answering")
            self.node_programs[name] = program

    def _limit_memory(self, name):
        if self._node_memory is None:
            return None
        group = MemoryGroup.make(f"penstock-demo-{os.getpid()}-{name}", self._node_memory)
        if group is not None:
            self._groups.append(group)
        return group

    @property
    def memory_is_enforced(self):
        return self._node_memory is None or len(self._groups) == len(NODES)

    def remove_groups(self):
        """Once all programs have ended."""
        for group in self._groups:
            group.remove()

    def _start_nginx(self):
        keeps_alive = self.mode == "penstock"
        config = os.path.join(self.directory, "nginx.conf")
        with open(config, "w") as file:
            file.write(
                _NGINX.format(
                    directory=self.directory,
                    front=self.front,
                    servers="\n".join(f"    server {address} max_fails=0;" for address in self.nodes.values()),
                    keepalive="    keepalive 256;" if keeps_alive else "",
                    connection='      proxy_http_version 1.1;\n      proxy_set_header Connection "";'
                    if keeps_alive
                    else "",
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
        addresses = {"shop": list(self.nodes.values()), "front": self.front, "third_parties": self.third_parties}
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
