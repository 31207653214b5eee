"""What can happen: third parties, load and pages by the phase."""

import dataclasses
import math

from criteria import Criterion


@dataclasses.dataclass(frozen=True)
class Phase:
    name: str
    seconds: float
    # What A does, as its /control takes it.
    a: dict
    said: str
    # What B does.
    b: dict = dataclasses.field(default_factory=dict)
    # Seconds for which A does it, and for which it is well, in turn; None: all the time.
    flaps: tuple | None = None
    # Users of the scenario's rate.
    load: float = 1


@dataclasses.dataclass(frozen=True)
class Knee:
    """Of A while it is full: it answers so many a second, from so many calls in flight."""

    throughput: float
    in_flight: float


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    # Each with the lengths of its phases: in full, and for --quick.
    phases: tuple
    quick_seconds: tuple
    # Users of these pages need what is in trouble.
    affected: tuple = ("/checkout", "/history")
    rate: float = 300
    # Of a node, beyond the usual.
    shop_args: tuple = ()
    policy: str = "examples/shop/policy.yaml"
    # CPU of a page, where the figure for the CPU's use is wanted.
    page_cpu_s: float | None = None
    # Bytes that a node may use.
    node_memory: int | None = None
    knee: Knee | None = None
    # What the run has to show, at its full length.
    criteria: tuple = ()
    # The same where the pages' code knows nothing of Penstock: nobody tells it that a user has left.
    criteria_unchanged: tuple = ()

    def criteria_of(self, app):
        return self.criteria_unchanged if app == "flask" else self.criteria

    @property
    def trouble(self):
        """The name of the phase that it is about."""
        return self.phases[1].name

    def plan(self, quick=False):
        if not quick:
            return list(self.phases)
        return [dataclasses.replace(phase, seconds=seconds) for phase, seconds in zip(self.phases, self.quick_seconds)]


_ALL = ("/checkout", "/browse", "/history", "/about")
_SLOW = {"latency_median_ms": 5000, "latency_sigma": 0.05}
_BLACKHOLE = {"blackhole": True}
# 180 calls a second are asked of A; 25 at a time at 200 ms, with the mean of their spread, are 120.
_USUAL = {"latency_median_ms": 200, "latency_sigma": 0.3}
_SERVERS = 25
_CAPACITY = {**_USUAL, "capacity": _SERVERS}
_COLLAPSE = {**_CAPACITY, "collapse_above": 30}
_KNEE = Knee(throughput=_SERVERS / (0.2 * math.exp(0.3**2 / 2)), in_flight=_SERVERS)


def _nothing_lost(phase="normal"):
    return (
        Criterion("users answered while all is well", "goodput", phase, at_least=0.999),
        Criterion("requests refused while all is well", "shed", phase, at_most=0),
    )


def _others(phase):
    return Criterion("users of other pages answered", "unaffected_goodput", phase, at_least=0.99)


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "incident",
            (
                Phase("normal", 20, {}, "all third parties answer in about 50 ms"),
                Phase("slow5s", 60, _SLOW, "A answers in 5 s; it is not our load that makes it slow"),
                Phase("recovered", 15, {}, "A is well again"),
                Phase("blackhole", 25, _BLACKHOLE, "A takes calls and never answers"),
                Phase("recovered2", 15, {}, "A answers again"),
            ),
            (6, 14, 6, 28, 8),
            criteria=(
                *_nothing_lost(),
                Criterion("all users answered", "goodput", "slow5s", at_least=0.85),
                Criterion("users of other pages answered", "unaffected_goodput", "slow5s", at_least=0.995),
                Criterion("their p99, of the usual", "unaffected_p99_ratio", "slow5s", at_most=1.2),
                Criterion("tries per user", "tries_per_user", "slow5s", at_most=1.3),
                Criterion("calls in vain", "wasted_call_ratio", "slow5s", at_most=0.15),
                Criterion("users of other pages answered", "unaffected_goodput", "blackhole", at_least=0.995),
                Criterion("A cut off on all nodes, s", "trip_s", at_most=7),
                Criterion("recovered, s", "recovery_s", at_most=6),
            ),
            criteria_unchanged=(
                *_nothing_lost(),
                Criterion("all users answered", "goodput", "slow5s", at_least=0.85),
                _others("slow5s"),
                _others("blackhole"),
                Criterion("A cut off on all nodes, s", "trip_s", at_most=10),
                Criterion("recovered, s", "recovery_s", at_most=6),
            ),
        ),
        Scenario(
            "capacity",
            (
                Phase("normal", 20, _USUAL, "A answers in about 200 ms"),
                Phase("capacity", 60, _CAPACITY, "A can serve two thirds of what is asked of it"),
                Phase("recovered", 20, _USUAL, "A can serve all again"),
            ),
            (8, 16, 6),
            knee=_KNEE,
            criteria=(
                *_nothing_lost(),
                Criterion("all users answered", "goodput", "capacity", at_least=0.78),
                _others("capacity"),
                Criterion("A at its knee, s", "knee_s", "capacity", at_most=5),
                Criterion("share of the time from then on", "knee_held", "capacity", at_least=0.8),
                Criterion("recovered, s", "recovery_s", at_most=5),
            ),
        ),
        Scenario(
            "collapse",
            (
                Phase("normal", 20, _USUAL, "A answers in about 200 ms"),
                Phase("collapse", 60, _COLLAPSE, "A can serve two thirds, and thrashes when more is in flight"),
                Phase("recovered", 20, _USUAL, "A can serve all again"),
            ),
            (8, 20, 6),
            knee=_KNEE,
            criteria=(
                *_nothing_lost(),
                Criterion("all users answered", "goodput", "collapse", at_least=0.7),
                _others("collapse"),
                # Without help it answers about 1 % of them.
                Criterion("A's answers in the last third, of the best", "late_throughput", "collapse", at_least=0.75),
                Criterion("recovered, s", "recovery_s", at_most=5),
            ),
        ),
        Scenario(
            "flap",
            (
                Phase("normal", 20, {}, "all third parties answer in about 50 ms"),
                Phase("flap", 60, {"latency_median_ms": 8000, "latency_sigma": 0.05},
                      "A takes 8 s for ten seconds, and is well for ten, again and again", flaps=(10, 10)),
                Phase("recovered", 20, {}, "A is well again"),
            ),
            (6, 12, 6),
            criteria=(
                *_nothing_lost(),
                _others("flap"),
                Criterion("recovered, s", "recovery_s", at_most=5),
            ),
        ),
        Scenario(
            "two-slow",
            (
                Phase("normal", 20, {}, "all third parties answer in about 50 ms"),
                Phase("two-slow", 60, {"latency_median_ms": 4000, "latency_sigma": 0.05}, "A takes 4 s, and B 1.5 s",
                      b={"latency_median_ms": 1500, "latency_sigma": 0.05}),
                Phase("recovered", 20, {}, "both are well again"),
            ),
            (6, 12, 6),
            affected=("/checkout", "/history", "/browse"),
            criteria=(
                *_nothing_lost(),
                _others("two-slow"),
                Criterion("recovered, s", "recovery_s", at_most=5),
            ),
        ),
        Scenario(
            "cpu",
            (
                Phase("normal", 20, {}, "the CPU suffices", load=0.25),
                Phase("cpu", 60, {}, "pages cost one and a half times the CPU that there is"),
                Phase("recovered", 20, {}, "the CPU suffices again", load=0.25),
            ),
            (5, 10, 5),
            affected=_ALL,
            rate=75,
            shop_args=("--page-cpu-ms", "40"),
            page_cpu_s=0.04,
            criteria=(
                *_nothing_lost(),
                Criterion("CPU that answered users", "useful_cpu", "cpu", at_least=0.9),
                Criterion("recovered, s", "recovery_s", at_most=5),
            ),
        ),
        Scenario(
            "memory",
            (
                Phase("normal", 20, {}, "a page holds 256 KiB while it waits; a node may use 512 MiB", load=0.1),
                Phase("blackhole", 60, _BLACKHOLE, "ten times as many users, and A takes calls and never answers"),
                Phase("recovered", 20, {}, "A answers again", load=0.1),
            ),
            (5, 12, 6),
            rate=3000,
            shop_args=("--page-memory-kib", "256", "--page-cpu-ms", "0.02"),
            policy="examples/shop/policy-small-nodes.yaml",
            node_memory=512 << 20,
            criteria=(
                *_nothing_lost(),
                _others("blackhole"),
                Criterion("nodes killed for memory", "nodes_lost", at_most=0),
                Criterion("memory of one node at most, MiB", "peak_node_mib", at_most=512),
                Criterion("recovered, s", "recovery_s", at_most=5),
            ),
        ),
    )
}
