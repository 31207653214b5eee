"""scripts/demo, once everything is built."""

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile

import criteria
import report
import scenario
import stage as staging
from console import Console
from processes import Ports, Programs, StartError
from scenarios import SCENARIOS

# A page in Python costs some thirty times the CPU of one in C++.
FLASK_RATE = 60


def parse_args():
    parser = argparse.ArgumentParser(
        prog="scripts/demo", description="The incident that Penstock was made for, on this machine, from start to end."
    )
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), default="incident", help="what happens (default incident)")
    parser.add_argument("--compare", action="store_true", help="also send the same users to plain threads")
    parser.add_argument("--keep", action="store_true", help="leave it running with users until Ctrl-C")
    parser.add_argument("--headless", action="store_true", help="no colours, no addresses")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--quick", action="store_true", help="short phases: shows that it works, measures nothing")
    parser.add_argument(
        "--kill", choices=("controller", "prometheus"), help="SIGKILL it in the middle of the trouble (the incident: slow5s)"
    )
    parser.add_argument("--logs", metavar="DIR", help="leave there what programs logged, users lived, Prometheus scraped")
    parser.add_argument(
        "--app", choices=("shop", "flask"), default="shop",
        help="what the nodes run: the shop in C++ (default), or one in Flask under uWSGI, which penstock-run starts",
    )
    parser.add_argument(
        "--clients", choices=("penstock", "libcurl"), default="penstock",
        help="what Penstock's shop calls with: its own client (default), or unmodified libcurl and libpq",
    )
    parser.add_argument("--rate", type=float, help="users per second (default: the scenario's, as a rule 300; in Flask 60)")
    parser.add_argument("--seed", type=int, default=1, help="same seed, same users (default 1)")
    parser.add_argument(
        "--addresses", metavar="FILE", default=staging.ADDRESSES_FILE,
        help="where everything is, while it runs (default build/demo/addresses.json)",
    )
    parser.add_argument("--app-build", metavar="DIR", help="take the programs from DIR and build nothing")
    args = parser.parse_args()
    if args.app == "flask":
        if args.clients != "penstock":
            parser.error("--clients: the shop in Flask has its own")
        if SCENARIOS[args.scenario].shop_args:
            parser.error(f"--scenario {args.scenario}: only with --app shop")
    return args


def show_addresses(console, stage, args):
    console.print(f"  shop         http://{stage.front}/checkout  (nginx; nodes {', '.join(stage.nodes.metrics.values() or stage.nodes.front)})")
    if stage.mode == "penstock":
        console.print(f"  console      http://{stage.console}/  (dashboards)")
        console.print(f"  prometheus   http://{stage.prometheus}/")
        console.print(f"  penstockctl  {stage.binaries.ctl} --controller {stage.grpc} status")
    console.print(f"  all of them  {os.path.relpath(args.addresses)}")


@contextlib.contextmanager
def set_stage(mode, args, binaries):
    """A stage with its policy applied; at the end nothing of it is left."""
    directory = tempfile.mkdtemp(prefix="penstock-demo-")
    what = SCENARIOS[args.scenario]
    stage = None
    try:
        with Programs(directory) as programs:
            policy = os.path.join(staging.REPOSITORY, what.policy)
            stage = staging.Stage(mode, binaries, programs, Ports(), args.seed, policy, what.shop_args, what.node_memory)
            try:
                stage.write_addresses(os.path.abspath(args.addresses))
                yield stage
            finally:
                stage.remove_addresses(os.path.abspath(args.addresses))
    finally:
        if args.logs:
            shutil.copytree(directory, os.path.join(args.logs, mode), dirs_exist_ok=True)
        if stage is not None:
            stage.nodes.remove_groups()
        shutil.rmtree(directory, ignore_errors=True)


def keep_users_coming(stage, args, console):
    console.say("demo", "left running; Ctrl-C ends it", "phase")
    show_addresses(console, stage, args)
    while True:
        users = [stage.binaries.users, "--shop", stage.front, "--rate", args.rate, "--phase", "keep=600"]
        stage.programs.start("users", [*users, "--records", os.devnull]).process.wait()


def run_all(args, console):
    binaries = staging.Binaries(os.path.abspath(args.app_build), args.app, args.clients)
    what = SCENARIOS[args.scenario]
    plan = what.plan(args.quick)
    if args.rate is None:
        args.rate = FLASK_RATE if args.app == "flask" else what.rate
    modes = ["penstock", "threads"] if args.compare else ["penstock"]
    if args.keep:
        # What is kept comes last.
        modes.reverse()
    summaries = []
    for mode in modes:
        console.say("demo", f"starting {mode}: two nodes behind nginx, three third parties, {args.rate:g} users/s")
        with set_stage(mode, args, binaries) as stage:
            if not args.headless:
                show_addresses(console, stage, args)
            if not stage.nodes.memory_is_enforced:
                console.say("demo", "no control groups here: the nodes' memory is watched, not enforced", "warn")
            kill_target = args.kill if mode == "penstock" else None
            run, kill = scenario.run(stage, console, what, plan, args.rate, args.seed, kill_target)
            summary = {"scenario": what.name, **report.summarise(run)}
            if mode == "penstock":
                summary["criteria"] = criteria.judge(what.criteria_of(args.app), summary)
            if kill:
                summary["kill"] = {"target": args.kill, "resync_s": kill.resync_s}
            summaries.append(summary)
            if mode == modes[-1]:
                summaries.sort(key=lambda each: each["mode"] != "penstock")
                console.print("\n" + report.table(summaries) + "\n")
                if not args.quick:
                    console.print("what Penstock has to show")
                    console.print("\n".join(criteria.lines(summaries[0]["criteria"])) + "\n")
                if args.json:
                    with open(args.json, "w") as file:
                        json.dump({"runs": summaries}, file, indent=2)
                        file.write("\n")
                if args.keep:
                    keep_users_coming(stage, args, console)


def main():
    args = parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell has it ignored
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    console = Console(plain=args.headless)
    try:
        run_all(args, console)
    except KeyboardInterrupt:
        console.say("demo", "interrupted; everything is stopped")
        return 130
    except (StartError, RuntimeError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
