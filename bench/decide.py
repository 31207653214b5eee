"""How good decisions are: in each scenario of the simulator the users of what is in trouble that are served in time, in
%, as mean and spread over seeds (--runs); Penstock beside rivals, or beside those of --subjects. --random N adds N
scenarios drawn from ranges. --doc writes the page docs/decisions-results.md."""

import json
import os
import statistics
import subprocess

import report

TARGETS = ["penstockctl"]
RIVALS = ["unlimited", "userver", "envoy-documented-fair", "brpc-fair", "codel-lifo-fair", "gradient2-fair"]
# Beside whom in random scenarios: those who are nearest over many.
RANDOM_RIVALS = ["unlimited", "envoy-documented-fair"]
# Points within which one is as good as another.
NEAR = 5


def is_false(verdict):
    said, truth = verdict["verdict"], verdict["truth"]
    right = {"theirs": ("theirs", "dead"), "ours": ("ours",), "full": ("full", "ours"), "dead": ("dead",)}
    return said in right and truth not in right[said]


def simulate(build, scenarios, rivals, seeds):
    said = subprocess.run([os.path.join(build, "cli", "penstockctl"), "simulate", "--scenario", scenarios, "--rivals",
                           ",".join(rivals), "--seeds", str(seeds), "-o", "json"],
                          check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(said)


def by_case(rows):
    """Of each (scenario, policy): the rows of all seeds, in the order in which they came."""
    cases = {}
    for row in rows:
        cases.setdefault((row["scenario"], row["policy"]), []).append(row)
    return cases


def served(row):
    affected = row["affected_goodput"]
    return 100 * (row["goodput"] if affected is None else affected)


def metrics(rows):
    values = [served(row) for row in rows]
    others = [100 * row["unaffected_goodput"] for row in rows if row["unaffected_goodput"] is not None]
    verdicts = [verdict for row in rows for verdict in row["verdicts"] if verdict["verdict"] != "none"]
    knees = [row["knee_s"] for row in rows if row["knee_s"] is not None]
    told = {"served": statistics.mean(values), "least": min(values), "most": max(values),
            "shed_normal": 100 * max(row["shed_normal"] for row in rows)}
    if others:
        told["others"] = min(others)
    if knees:
        told["knee_s"] = statistics.median(knees)
    if verdicts:
        told["verdicts"] = len(verdicts)
        told["false"] = sum(map(is_false, verdicts))
    return {name: round(value, 2) for name, value in told.items()}


def run(build, options):
    rivals = options.subjects or RIVALS
    rows = simulate(build, "all", rivals, options.runs)
    drawn = simulate(build, f"random:1-{options.random}", RANDOM_RIVALS, 1) if options.random else []
    if options.doc:
        with open(options.doc, "w", encoding="utf-8") as out:
            out.write("\n".join(page(rows, options.random) + (random_page(drawn) if drawn else [])) + "\n")
    told = [{"case": scenario, "subject": policy, "metrics": metrics(of)}
            for (scenario, policy), of in by_case(rows).items()]
    by_policy = {}
    for row in drawn:
        by_policy.setdefault(row["policy"], []).append(row)
    return told + [{"case": f"{options.random} random", "subject": policy, "metrics": metrics(of)}
                   for policy, of in by_policy.items()]


def verdicts_of(rows):
    """The lines about them, with a table of the false ones."""
    verdicts = [(row, verdict) for row in rows for verdict in row["verdicts"] if verdict["verdict"] != "none"]
    false = [(row, verdict) for row, verdict in verdicts if is_false(verdict)]
    lines = ["", f"Refused while nothing was the matter, at most: {100 * max(row['shed_normal'] for row in rows):.2f} %. "
                 f"Verdicts: {len(verdicts)}, of which {len(false)} false"
                 + (f" ({100 * len(false) / len(verdicts):.1f} %):" if false else ".")]
    if false:
        lines += ["", "| scenario, seed | at, s | upstream | said | was |", "|---|---|---|---|---|"]
        lines += [f"| {row['scenario']}, {row['seed']} | {v['time']:.0f} | {v['upstream']} | {v['verdict']} | "
                  f"{v['truth']} |" for row, v in false]
    return lines


def page(rows, random):
    cases = by_case(rows)
    policies = list(dict.fromkeys(policy for _, policy in cases))
    scenarios = list(dict.fromkeys(scenario for scenario, _ in cases))
    told = {case: metrics(of) for case, of in cases.items()}
    seeds = max(len(of) for of in cases.values())
    lines = ["# Results of the simulator", "",
             "Users of what is in trouble that were served before they gave up, in %: the mean over seeds, and in brackets",
             "the least and the most. Made by", "", "```",
             f"scripts/bench decide --runs {seeds} --random {random} --doc docs/decisions-results.md", "```", "",
             "| scenario | " + " | ".join(policies) + " | knee, s | verdicts, false |",
             "|---|" + "---|" * (len(policies) + 2)]
    for scenario in scenarios:
        cells = []
        best = max(told[scenario, policy]["served"] for policy in policies)
        for policy in policies:
            m = told[scenario, policy]
            spread = f" ({m['least']:.0f}-{m['most']:.0f})" if m["most"] - m["least"] >= 1 else ""
            text = f"{m['served']:.1f}{spread}"
            cells.append(f"**{text}**" if m["served"] >= best - 0.05 else text)
        ours = told[scenario, "penstock"]
        cells.append(f"{ours['knee_s']:.1f}" if "knee_s" in ours else "")
        cells.append(f"{ours['verdicts']}, {ours['false']}" if "verdicts" in ours else "")
        lines.append(f"| {scenario} | " + " | ".join(cells) + " |")
    best = {s: max(told[s, policy]["served"] for policy in policies) for s in scenarios}
    lines += ["", "| over all scenarios | " + " | ".join(policies) + " |", "|---|" + "---|" * len(policies)]
    mean = [statistics.mean(told[s, policy]["served"] for s in scenarios) for policy in policies]
    regret = [max(best[s] - told[s, policy]["served"] for s in scenarios) for policy in policies]
    behind = [sum(best[s] - told[s, policy]["served"] > NEAR for s in scenarios) for policy in policies]
    lines.append("| mean | " + " | ".join(f"{value:.1f}" for value in mean) + " |")
    lines.append("| most behind the best | " + " | ".join(f"{value:.1f}" for value in regret) + " |")
    lines.append(f"| scenarios more than {NEAR} points behind | " + " | ".join(map(str, behind)) + " |")
    ours = [row for (_, policy), of in cases.items() if policy == "penstock" for row in of]
    hurt = [f"{s} ({told[s, 'penstock']['others']:.1f})" for s in scenarios
            if told[s, "penstock"].get("others", 100) < 99 <= max(told[s, p].get("others", 0) for p in policies)]
    lines += ["", "Users of other pages: at least 99 % served in every run of Penstock, wherever any policy reaches that"
              + (f", but for {', '.join(hurt)}." if hurt else ".")]
    return lines + verdicts_of(ours)


def random_page(rows):
    cases = by_case(rows)
    policies = list(dict.fromkeys(policy for _, policy in cases))
    scenarios = list(dict.fromkeys(scenario for scenario, _ in cases))
    told = {case: served(of[0]) for case, of in cases.items()}
    behind = {p: {s: max(told[s, q] for q in policies) - told[s, p] for s in scenarios} for p in policies}
    lines = ["", "## Scenarios that nobody has thought of", "",
             f"{len(scenarios)} of them, drawn from ranges (`--scenario random:1-{len(scenarios)}`), one seed each.", "",
             "| over all of them | " + " | ".join(policies) + " |", "|---|" + "---|" * len(policies)]
    mean = [statistics.mean(told[s, p] for s in scenarios) for p in policies]
    lines.append("| mean | " + " | ".join(f"{value:.1f}" for value in mean) + " |")
    lines.append("| most behind the best | " + " | ".join(f"{max(behind[p].values()):.1f}" for p in policies) + " |")
    lines.append(f"| more than {NEAR} points behind | "
                 + " | ".join(str(sum(d > NEAR for d in behind[p].values())) for p in policies) + " |")
    lines += ["", "The ten in which Penstock is most behind ([control-loop.md](control-loop.md) says why):", "",
              "| random: | " + " | ".join(policies) + " |", "|---|" + "---|" * len(policies)]
    for s in sorted(scenarios, key=lambda s: -behind["penstock"][s])[:10]:
        lines.append(f"| {s.removeprefix('random-')} | " + " | ".join(f"{told[s, p]:.1f}" for p in policies) + " |")
    return lines + verdicts_of([row for row in rows if row["policy"] == "penstock"])
