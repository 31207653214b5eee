"""Rows of a benchmark: medians over runs, the table, the JSON file."""

import json
import statistics


class Rows:
    """Samples of (case, subject, metric), in the order in which they first came."""

    def __init__(self):
        self._samples = {}

    def add(self, case, subject, **metrics):
        row = self._samples.setdefault((case, subject), {})
        for name, value in metrics.items():
            if value is not None:
                row.setdefault(name, []).append(value)

    def medians(self):
        return [
            {"case": case, "subject": subject,
             "metrics": {name: round(statistics.median(values), 4) for name, values in row.items()}}
            for (case, subject), row in self._samples.items()
        ]


def against(rows, yardstick, metric, ratio):
    """Adds the ratio of a metric to that of the yardstick in the same case, where that is not nothing."""
    base = {row["case"]: row["metrics"][metric] for row in rows if row["subject"] == yardstick}
    for row in rows:
        if base.get(row["case"]):
            row["metrics"][ratio] = round(row["metrics"][metric] / base[row["case"]], 3)
    return rows


def table(rows):
    metrics = []
    for row in rows:
        metrics += [name for name in row["metrics"] if name not in metrics]
    lines = [["case", "subject"] + metrics]
    for row in rows:
        lines.append([row["case"], row["subject"]] +
                     [f"{row['metrics'][name]:g}" if name in row["metrics"] else "-" for name in metrics])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = []
    for line in lines:
        cells = [cell.ljust(width) if i < 2 else cell.rjust(width) for i, (cell, width) in enumerate(zip(line, widths))]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)


def write(bench, rows, path):
    print(table(rows))
    if path:
        with open(path, "w", encoding="utf-8") as out:
            json.dump({"bench": bench, "rows": rows}, out, indent=1)
            out.write("\n")
