"""scripts/bench: lists the benchmarks, or builds and runs one."""

import argparse
import os
import subprocess

import clients
import decide
import guard
import hello
import incident
import proxy
import report
import scale
import seed
import sleepers
import switch
import tick
import uwsgi

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Each: its module, runs by default, and seconds of each measurement.
BENCHES = {"clients": (clients, 3, 0), "decide": (decide, 3, 0), "guard": (guard, 15, 0), "hello": (hello, 5, 3),
           "incident": (incident, 1, 0), "proxy": (proxy, 5, 3), "sleepers": (sleepers, 3, 0), "seed": (seed, 1, 0),
           "scale": (scale, 3, 3), "switch": (switch, 5, 0), "tick": (tick, 3, 0),
           "uwsgi": (uwsgi, 3, 0)}


def build(targets):
    folder = os.path.join(ROOT, "build", "release")
    if targets:
        if not os.path.exists(os.path.join(folder, "build.ninja")):
            subprocess.run(["cmake", "--preset", "release"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["cmake", "--build", folder, "--target"] + targets, check=True, stdout=subprocess.DEVNULL)
    return folder


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Without a name: lists the benchmarks.")
    parser.add_argument("name", nargs="?", choices=sorted(BENCHES))
    parser.add_argument("--json", metavar="FILE", help="also write the rows there")
    parser.add_argument("--runs", type=int, help="interleaved runs, of which the medians are told")
    parser.add_argument("--seconds", type=int, help="length of each measurement")
    parser.add_argument("--subjects", type=lambda text: text.split(","), metavar="A,B",
                        help="only these; default: all that are installed")
    parser.add_argument("--doc", metavar="FILE", help="decide: also write the page of results there")
    parser.add_argument("--random", type=int, default=0, metavar="N", help="decide: also N scenarios drawn from ranges")
    parser.add_argument("--build", metavar="FOLDER", help="use the programs of this build as they are")
    options = parser.parse_args()
    if options.name is None:
        for name, (module, _, _) in sorted(BENCHES.items()):
            print(f"{name:10} {' '.join(module.__doc__.split())}")
        return
    module, runs, seconds = BENCHES[options.name]
    options.runs = runs if options.runs is None else options.runs
    options.seconds = seconds if options.seconds is None else options.seconds
    if options.runs < 1 or options.seconds < 0:
        parser.error("--runs must be at least 1 and --seconds not negative")
    folder = os.path.abspath(options.build) if options.build else build(module.TARGETS)
    report.write(options.name, module.run(folder, options), options.json)


if __name__ == "__main__":
    main()
