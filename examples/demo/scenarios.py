"""What can happen: third parties, load and pages by the phase."""

import dataclasses


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

    def plan(self, quick=False):
        if not quick:
            return list(self.phases)
        return [dataclasses.replace(phase, seconds=seconds) for phase, seconds in zip(self.phases, self.quick_seconds)]


_SLOW = {"latency_median_ms": 5000, "latency_sigma": 0.05}
_BLACKHOLE = {"blackhole": True}
# 180 calls a second are asked of A; 24 at a time at 200 ms, with the mean of their spread, are 115.
_USUAL = {"latency_median_ms": 200}
_CAPACITY = {**_USUAL, "capacity": 25}
_COLLAPSE = {**_USUAL, "capacity": 25, "collapse_above": 30}

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
        ),
        Scenario(
            "capacity",
            (
                Phase("normal", 20, _USUAL, "A answers in about 200 ms"),
                Phase("capacity", 60, _CAPACITY, "A can serve two thirds of what is asked of it"),
                Phase("recovered", 20, _USUAL, "A can serve all again"),
            ),
            (8, 25, 10),
        ),
        Scenario(
            "collapse",
            (
                Phase("normal", 20, _USUAL, "A answers in about 200 ms"),
                Phase("collapse", 60, _COLLAPSE, "A can serve two thirds, and thrashes when more is in flight"),
                Phase("recovered", 20, _USUAL, "A can serve all again"),
            ),
            (8, 25, 10),
        ),
        Scenario(
            "flap",
            (
                Phase("normal", 20, {}, "all third parties answer in about 50 ms"),
                Phase("flap", 60, {"latency_median_ms": 8000, "latency_sigma": 0.05},
                      "A takes 8 s for ten seconds, and is well for ten, again and again", flaps=(10, 10)),
                Phase("recovered", 20, {}, "A is well again"),
            ),
            (8, 25, 10),
        ),
        Scenario(
            "two-slow",
            (
                Phase("normal", 20, {}, "all third parties answer in about 50 ms"),
                Phase("two-slow", 60, _SLOW, "A and B answer in 5 s", b={"latency_median_ms": 4000, "latency_sigma": 0.05}),
                Phase("recovered", 20, {}, "both are well again"),
            ),
            (8, 25, 10),
            affected=("/checkout", "/history", "/browse"),
        ),
        Scenario(
            "cpu",
            (
                Phase("normal", 15, {}, "all third parties answer in about 50 ms"),
                Phase("cpu", 45, {}, "pages cost twice the CPU that there is"),
                Phase("after", 15, {}, "still too many"),
            ),
            (5, 15, 5),
            affected=(),
            rate=60,
            shop_args=("--page-cpu-ms", "40"),
            page_cpu_s=0.04,
        ),
        Scenario(
            "memory",
            (
                Phase("normal", 15, {}, "a page holds 256 KiB while it waits; a node may use 512 MiB"),
                Phase("blackhole", 60, _BLACKHOLE, "A takes calls and never answers"),
                Phase("recovered", 15, {}, "A answers again"),
            ),
            (5, 20, 8),
            rate=600,
            shop_args=("--page-memory-kib", "256"),
            policy="examples/shop/policy-small-nodes.yaml",
        ),
    )
}
