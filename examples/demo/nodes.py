"""What serves the shop: two programs of its own, or one uWSGI with two worker processes. Each is started with the stage
that is set, and then has `front`, the addresses behind nginx; `metrics`, {node: address of its /metrics} of the nodes
that have one; and `pids`, {node: process}."""

import json
import os

import web
from memory_group import MemoryGroup

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class ShopNodes:
    """shop-penstock or shop-libcurl, and beside them shop-threads. `memory`: bytes that each may use, enforced where
    control groups are to be had."""

    NAMES = ("shop-1", "shop-2")

    def __init__(self, mode, binaries, ports, shop_args, memory):
        self._mode = mode
        self._binaries = binaries
        self._args = shop_args
        self._memory = memory
        self._groups = []
        self._addresses = {name: f"127.0.0.1:{ports.pick()}" for name in self.NAMES}
        self.needs_database = mode == "penstock" and binaries.clients == "libcurl"
        self.schema = None
        self.front = list(self._addresses.values())
        self.metrics = self._addresses if mode == "penstock" else {}
        self.pids = {}
        self._programs = []

    def start(self, stage):
        third_parties = ",".join(f"{name}=http://{address}" for name, address in stage.third_parties.items())
        environment = os.environ if stage.database is None else {**os.environ, "SHOP_DATABASE": stage.database}
        for name, address in self._addresses.items():
            if self._mode == "penstock":
                args = [self._binaries.shop_penstock, "--controller", stage.grpc, "--node", name]
            else:
                args = [self._binaries.shop_threads]
            args += ["--listen", address, "--third-parties", third_parties, *self._args]
            group = self._limit_memory(name)
            program = stage.programs.start(name, args, env=environment, **({"preexec_fn": group.enter} if group else {}))
            program.wait_until(lambda a=address: web.answers(a, "/about"), "answering")
            self.pids[name] = program.pid
            self._programs.append(program)

    def _limit_memory(self, name):
        if self._memory is None:
            return None
        group = MemoryGroup.make(f"penstock-demo-{os.getpid()}-{name}", self._memory)
        if group is not None:
            self._groups.append(group)
        return group

    @property
    def memory_is_enforced(self):
        return self._memory is None or len(self._groups) == len(self.NAMES)

    def remove_groups(self):
        """Once all programs have ended."""
        for group in self._groups:
            group.remove()

    def lost(self):
        """How many have ended."""
        return sum(program.process.poll() is not None for program in self._programs)

    def location(self):
        """How nginx passes requests on: (what the upstream has besides its servers, what the location has)."""
        if self._mode != "penstock":
            return "", "proxy_pass http://shop;"
        return (
            "keepalive 256;",
            'proxy_pass http://shop; proxy_http_version 1.1; proxy_set_header Connection "";',
        )


class FlaskNodes:
    """examples/shop/flask under uWSGI: the same command line plain and, with more threads, behind penstock-run."""

    memory_is_enforced = True
    PROCESSES = 2
    THREADS = {"threads": 64, "penstock": 1000}
    FOLDER = os.path.join(REPOSITORY, "examples/shop/flask")

    def __init__(self, mode, binaries, ports, policy):
        self._mode = mode
        self._binaries = binaries
        self._policy = policy
        self.needs_database = True
        self.schema = os.path.join(self.FOLDER, "schema.sql")
        self.front = [f"127.0.0.1:{ports.pick()}"]
        self.metrics = {}
        self.pids = {}

    def start(self, stage):
        with open("/proc/sys/net/core/somaxconn", encoding="ascii") as file:
            backlog = min(int(file.read()), 4096)
        uwsgi = [
            "uwsgi", "--plugin", "python3", "--socket", self.front[0], "--listen", backlog, "--master",
            "--processes", self.PROCESSES, "--threads", self.THREADS[self._mode], "--lazy-apps", "--need-app",
            "--die-on-term", "--no-orphans", "--disable-logging",
            "--wsgi-file", os.path.join(self.FOLDER, "shop.py"), "--callable", "app",
        ]
        if self._mode == "penstock":
            uwsgi = [
                self._binaries.penstock_run, "--service", "shop", "--node", "shop", "--policy", self._policy,
                "--controller", stage.grpc, "--stats", *uwsgi,
            ]
        third_parties = ",".join(f"{name}=http://{address}/" for name, address in stage.third_parties.items())
        program = stage.programs.start(
            "uwsgi", uwsgi,
            env={**os.environ, "SHOP_THIRD_PARTIES": third_parties, "SHOP_DATABASE": stage.database},
        )
        program.wait_until(lambda: self._workers(program.pid), "running its workers")
        if self._mode == "penstock":
            program.wait_until(lambda: self._find_metrics(stage), "joined to the controller", 30)

    def _workers(self, master):
        with open(f"/proc/{master}/task/{master}/children", encoding="ascii") as file:
            self.pids = {f"shop-{pid}": int(pid) for pid in file.read().split()}
        return len(self.pids) == self.PROCESSES

    def remove_groups(self):
        pass

    def lost(self):
        return sum(not os.path.exists(f"/proc/{pid}") for pid in self.pids.values())

    def _find_metrics(self, stage):
        """Each worker is a node, with a free port that only the controller has been told."""
        groups = json.loads(web.get(stage.console, "/sd"))
        self.metrics = {group["labels"]["node"]: group["targets"][0] for group in groups}
        return set(self.metrics) == set(self.pids)

    def location(self):
        return "", "include /etc/nginx/uwsgi_params; uwsgi_pass shop; uwsgi_read_timeout 60s; uwsgi_next_upstream off;"
