"""What a run showed: from the users' own records, the third parties' ledgers and the nodes' metrics."""

import collections
import dataclasses
import math

PATIENCE_S = 10.0
AFFECTED = frozenset({"/checkout", "/history"})
RECOVERED_SHARE = 0.95


@dataclasses.dataclass
class Run:
    mode: str
    # In order.
    phases: list
    # As the users wrote them, one dict per user.
    records: list
    # {"A": {"17.1": calls begun, ...}, ...}
    calls: dict
    # {phase: requests that admission refused}
    shed: dict
    trip_s: float | None = None
    # On the users' clock: when A answered again after the black hole.
    recovered_at: float | None = None
    peak_fibers: int = 0
    peak_rss_mib: float = 0.0
    # Users of these pages need what is in trouble.
    affected: frozenset = AFFECTED
    # {phase: (begin, end)} on the users' clock.
    spans: dict = dataclasses.field(default_factory=dict)
    # {phase: (CPU seconds of the nodes, of nobody)}
    cpu_s: dict = dataclasses.field(default_factory=dict)
    # CPU that a page needs, where its use is to be judged.
    page_cpu_s: float | None = None
    peak_node_mib: float = 0.0
    # {phase: (seconds until A worked at its knee, share of the time from then on, answers a second in the last third as a
    # share of the best)}, of the phases in which A is full.
    knee: dict = dataclasses.field(default_factory=dict)
    # Nodes that ended by themselves: killed by the kernel, for memory.
    nodes_lost: int = 0


def parse_calls(text):
    """The third party's /calls: {try: calls begun}."""
    calls = {}
    for line in text.splitlines():
        user_try, begun, _answered, _cancelled = line.split()
        calls[user_try] = int(begun)
    return calls


def quantile(values, q):
    """Nearest rank; None of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)] if ordered else None


def _share(values):
    values = list(values)
    return round(sum(values) / len(values), 5) if values else None


def recovery_s(records, recovered_at, affected=AFFECTED):
    """Seconds from recovered_at to the end of the first second of whose affected users 95 % were answered."""
    if recovered_at is None:
        return None
    seconds = collections.defaultdict(list)
    for record in records:
        if record["path"] in affected and record["at"] >= recovered_at:
            seconds[int(record["at"] - recovered_at)].append(record["good"])
    for second in sorted(seconds):
        if sum(seconds[second]) >= RECOVERED_SHARE * len(seconds[second]):
            return float(second + 1)
    return None


def _rounded(seconds):
    return None if seconds is None else round(seconds, 2)


def _useful_cpu(run, name):
    """Pages whose users were answered in the phase, as a share of what the nodes could have made with the CPU that they had and that
    nobody used."""
    cpu = sum(run.cpu_s.get(name, ()))
    if run.page_cpu_s is None or not cpu or name not in run.spans:
        return None
    begin, end = run.spans[name]
    good = sum(begin <= user["at"] + user["seconds"] < end for user in run.records if user["good"])
    return round(good * run.page_cpu_s / cpu, 3)


def _phase(run, name):
    users = [record for record in run.records if record["phase"] == name]
    affected = [user["good"] for user in users if user["path"] in run.affected]
    unaffected = [user for user in users if user["path"] not in run.affected]
    # Who was not answered waited at least their patience: leaving them out would flatter the slow.
    waits = [user["seconds"] if user["good"] else PATIENCE_S for user in unaffected]
    p99 = quantile(waits, 0.99)
    useful = all_calls = 0
    for user in users:
        for number in range(1, user["tries"] + 1):
            begun = sum(calls.get(f"{user['user']}.{number}", 0) for calls in run.calls.values())
            all_calls += begun
            if user["good"] and number == user["tries"]:
                useful += begun
    knee_s, knee_held, late_throughput = run.knee.get(name, (None, None, None))
    return {
        "name": name,
        "users": len(users),
        "goodput": _share(user["good"] for user in users),
        "affected_goodput": _share(affected),
        "unaffected_goodput": _share(user["good"] for user in unaffected),
        "unaffected_p99_ms": None if p99 is None else round(p99 * 1000, 1),
        "tries_per_user": round(sum(user["tries"] for user in users) / len(users), 4) if users else None,
        "wasted_call_ratio": round(1 - useful / all_calls, 5) if all_calls else 0.0,
        "shed": int(run.shed.get(name, 0)),
        "knee_s": _rounded(knee_s),
        "knee_held": _rounded(knee_held),
        "late_throughput": _rounded(late_throughput),
        "nodes_cpu_s": _rounded(run.cpu_s.get(name, (None, None))[0]),
        "idle_cpu_s": _rounded(run.cpu_s.get(name, (None, None))[1]),
        "useful_cpu": _useful_cpu(run, name),
    }


def summarise(run):
    """The run as `--json` writes it."""
    phases = [_phase(run, name) for name in run.phases]
    usual = phases[0]["unaffected_p99_ms"]
    for phase in phases:
        p99 = phase["unaffected_p99_ms"]
        phase["unaffected_p99_ratio"] = round(p99 / usual, 3) if p99 and usual else None
    return {
        "mode": run.mode,
        "phases": phases,
        "trip_s": None if run.trip_s is None else round(run.trip_s, 2),
        "recovery_s": recovery_s(run.records, run.recovered_at, run.affected),
        "peak_fibers": run.peak_fibers,
        "peak_rss_mib": round(run.peak_rss_mib, 1),
        "peak_node_mib": round(run.peak_node_mib, 1),
        "nodes_lost": run.nodes_lost,
    }


_ROWS = (
    ("users answered within 10 s", "goodput", "{:.1%}"),
    ("  of those who need it", "affected_goodput", "{:.1%}"),
    ("  of the others", "unaffected_goodput", "{:.1%}"),
    ("p99 of the others", "unaffected_p99_ms", "{:.0f} ms"),
    ("tries per user", "tries_per_user", "{:.2f}"),
    ("wasted calls", "wasted_call_ratio", "{:.1%}"),
    ("requests shed", "shed", "{}"),
    ("A at its knee after", "knee_s", "{:.1f} s"),
    ("  and from then on", "knee_held", "{:.0%}"),
    ("A's answers at the end, of best", "late_throughput", "{:.0%}"),
    ("CPU that answered users", "useful_cpu", "{:.0%}"),
)
_TOTALS = (
    ("A cut off after", "trip_s", "{:.1f} s"),
    ("recovered after", "recovery_s", "{:.0f} s"),
    ("fibers at most", "peak_fibers", "{}"),
    ("memory at most", "peak_rss_mib", "{:.0f} MiB"),
    ("of one node", "peak_node_mib", "{:.0f} MiB"),
    ("nodes lost", "nodes_lost", "{}"),
)


def _cell(value, form):
    return "-" if value is None else form.format(value)


def table(summaries):
    """The closing table: a block per phase, a column per run."""
    lines = [f"{'':34}" + "".join(f"{run['mode']:>14}" for run in summaries)]
    for index, phase in enumerate(summaries[0]["phases"]):
        lines.append(f"{phase['name']} ({phase['users']} users)")
        for label, key, form in _ROWS:
            cells = "".join(f"{_cell(run['phases'][index][key], form):>14}" for run in summaries)
            lines.append(f"  {label:32}{cells}")
    lines.append("the whole run")
    for label, key, form in _TOTALS:
        cells = "".join(f"{_cell(run[key], form):>14}" for run in summaries)
        lines.append(f"  {label:32}{cells}")
    return "\n".join(lines)
