"""One run through the phases of a scenario."""

import json
import os
import re
import signal
import subprocess
import threading
import time

import report
import web
from upstream_watch import UpstreamWatch, find_knee, throughput
from watch import Watch

RESTART_AFTER_S = 15
# Phases in which everybody is well.
_WELL = frozenset({"normal", "recovered", "recovered2"})


class Behaviours:
    """Has the third parties do what a phase says, in turns where it flaps."""

    def __init__(self, stage):
        self._stage = stage
        self._now = {"A": {}, "B": {}}
        self._phase = self._began = None

    def begin(self, phase):
        self._phase, self._began = phase, time.monotonic()
        self.tick()

    def tick(self):
        """Called at least once a second."""
        a = self._phase.a
        if self._phase.flaps:
            on, off = self._phase.flaps
            a = a if (time.monotonic() - self._began) % (on + off) < on else {}
        for name, wanted in (("A", a), ("B", self._phase.b)):
            if wanted != self._now[name]:
                self._now[name] = wanted
                self._stage.behave(name, **wanted)


class Kill:
    """SIGKILLs a part in the middle of a phase and starts it again later."""

    def __init__(self, stage, target, phase, say):
        self._stage = stage
        self._target = target
        self._phase = phase
        self._say = say
        self._at = self._back_at = None
        self.resync_s = None

    def phase_begins(self, phase):
        if phase.name == self._phase:
            self._at = time.monotonic() + phase.seconds / 2

    def tick(self):
        """Called at least once a second, from the thread that starts programs."""
        program = getattr(self._stage, f"{self._target}_program")
        now = time.monotonic()
        if self._at is not None and now >= self._at:
            self._at, self._back_at = None, now + RESTART_AFTER_S
            os.kill(program.pid, signal.SIGKILL)
            program.process.wait()
            self._say(self._target, "killed with SIGKILL", "bad")
        elif self._back_at is not None and now >= self._back_at:
            self._back_at = None
            program.start()
            self._say(self._target, "started again", "good")
            if self._target == "controller":
                threading.Thread(target=self._await_nodes, args=(now,), daemon=True).start()

    def _await_nodes(self, since):
        while self.resync_s is None and time.monotonic() < since + 60:
            try:
                targets = [t for group in json.loads(web.get(self._stage.console, "/sd", timeout=1)) for t in group["targets"]]
                if set(self._stage.nodes.metrics.values()) <= set(targets):
                    self.resync_s = round(time.monotonic() - since, 2)
                    self._say(self._target, f"all nodes hold a lease again after {self.resync_s:.1f} s", "good")
            except (OSError, ValueError):
                pass
            time.sleep(0.1)


_KINDS = {"trip": "bad", "close": "good", "half_open": "warn", "resize": None}


class Events:
    """Says what the controller decides, with its reason; of a limit that moves in many steps, the larger ones."""

    STEP = 1.5

    def __init__(self, say):
        self._say = say
        self._limits = {}

    def follow(self, lines):
        for line in lines:
            self.show(json.loads(line))

    def show(self, decision):
        where = f"{decision.get('node') or 'fleet':8} {decision['kind']}/{decision['name']:8}"
        if decision["action"] == "resize" and not self._is_step(decision):
            return
        self._say(decision["action"], f"{where} {decision['message']}", _KINDS.get(decision["action"]))

    def _is_step(self, decision):
        moved = re.match(r"limit (\d+) -> (\d+)", decision["message"])
        if not moved:
            return True
        before, after = (int(number) for number in moved.groups())
        key = (decision.get("node"), decision["name"])
        shown = self._limits.setdefault(key, before)
        if max(after, shown) < self.STEP * min(after, shown):
            return False
        self._limits[key] = after
        return True


def _knee(samples, began, phase, knee):
    end = began + phase.seconds
    found_s, held = find_knee(samples, began, end, knee.throughput, knee.in_flight)
    late = throughput(samples, began + phase.seconds * 2 / 3, end)
    return found_s, held, None if late is None else late / knee.throughput


def _spans(plan):
    begin, spans = 0.0, {}
    for phase in plan:
        spans[phase.name] = (begin, begin + phase.seconds)
        begin += phase.seconds
    return spans


def run(stage, console, what, plan, rate, seed, kill_target=None):
    """Sends the users through the phases of the scenario; (report.Run, Kill or None)."""
    watched = {name: (stage.nodes.metrics.get(name), pid) for name, pid in stage.nodes.pids.items()}
    watch = Watch(watched)
    behaviours = Behaviours(stage)
    kill = Kill(stage, kill_target, what.trouble, console.say) if kill_target else None
    upstream = UpstreamWatch(stage.third_parties["A"])
    if stage.mode == "penstock":
        lines = stage.follow_events().process.stdout
        threading.Thread(target=Events(console.say).follow, args=(lines,), daemon=True).start()
    records_path = os.path.join(stage.directory, "users.jsonl")
    args = [stage.binaries.users, "--shop", stage.front, "--rate", rate, "--seed", seed, "--records", records_path]
    for phase in plan:
        args += ["--phase", f"{phase.name}={phase.seconds}@{rate * phase.load}"]

    watch.start()
    upstream.start()
    shed_before, shed = 0.0, {}
    cpu, began = {}, {}
    current = None
    recovered_at = None
    users = stage.programs.start("users", args, stdout=subprocess.PIPE, text=True, bufsize=1)
    for line in users.process.stdout:
        event = json.loads(line)
        if "phase" in event:
            used = watch.cpu()
            if current:
                shed[current.name], shed_before = watch.shed() - shed_before, watch.shed()
                cpu[current.name] = used
            read_at = time.monotonic()
            began[event["phase"]] = read_at
            previous, current = current, next(phase for phase in plan if phase.name == event["phase"])
            if current.a.get("blackhole"):
                watch.mark()
                recovered_at = None
            behaviours.begin(current)
            if previous and previous.name not in _WELL and current.name in _WELL:
                recovered_at = event["at"] + time.monotonic() - read_at
            console.say(stage.mode, f"--- {current.name}: {current.said} ---", "phase")
            if kill:
                kill.phase_begins(current)
        elif event["second"] % 5 == 0:
            console.say(
                "users",
                f"{event['arrived']}/s come, {event['answered']}/s answered, {event['errors']}/s errors, "
                f"{event['left']}/s leave without, {event['present']} wait",
            )
        if current:
            behaviours.tick()
        if kill:
            kill.tick()
    if users.process.wait() != 0:
        raise RuntimeError(f"the users failed:\n{users.log_tail()}")
    shed[current.name] = watch.shed() - shed_before
    cpu[current.name] = watch.cpu()
    watch.stop()
    upstream.stop()
    with open(records_path) as file:
        records = [json.loads(line) for line in file]
    calls = {name: report.parse_calls(text) for name, text in stage.calls().items()}
    result = report.Run(
        mode=stage.mode,
        phases=[phase.name for phase in plan],
        records=records,
        calls=calls,
        shed=shed,
        trip_s=watch.trip_s(),
        recovered_at=recovered_at,
        affected=frozenset(what.affected),
        spans=_spans(plan),
        cpu_s=cpu,
        knee={} if what.knee is None else {what.trouble: _knee(upstream.samples, began[what.trouble], plan[1], what.knee)},
        nodes_lost=stage.nodes.lost(),
        page_cpu_s=what.page_cpu_s,
        peak_node_mib=watch.peak_node_mib,
        peak_fibers=watch.peak_fibers,
        peak_rss_mib=watch.peak_rss_mib,
    )
    return result, kill
