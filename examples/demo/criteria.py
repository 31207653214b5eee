"""What a run has to show, and whether it did."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Criterion:
    said: str
    # A figure of report.summarise(): of the phase, or of the whole run.
    figure: str
    phase: str | None = None
    at_least: float | None = None
    at_most: float | None = None

    def judge(self, summary):
        """A figure that is missing is missed: what was not seen was not shown."""
        figures = summary
        if self.phase is not None:
            figures = next(phase for phase in summary["phases"] if phase["name"] == self.phase)
        value = figures[self.figure]
        met = value is not None
        met = met and (self.at_least is None or value >= self.at_least)
        met = met and (self.at_most is None or value <= self.at_most)
        bounds = {name: getattr(self, name) for name in ("at_least", "at_most") if getattr(self, name) is not None}
        return {"said": self.said, "phase": self.phase, "figure": self.figure, "value": value, **bounds, "met": met}


def judge(criteria, summary):
    return [criterion.judge(summary) for criterion in criteria]


def lines(judged):
    """One for each, as the demo prints them."""
    for each in judged:
        bounds = [f"{word} {each[name]:g}" for name, word in (("at_least", ">="), ("at_most", "<=")) if name in each]
        value = "nothing seen" if each["value"] is None else f"{each['value']:.4g}"
        phase = f" ({each['phase']})" if each["phase"] else ""
        verdict = "met   " if each["met"] else "MISSED"
        yield f"  {verdict} {each['said'] + phase:58} {value:>10}  {' and '.join(bounds)}"
