#!/usr/bin/env python3
"""gdb, with scripts/gdb/penstock_gdb.py, on a live process and on its core dump: gdb_test.py PROGRAM SCRIPT"""
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import tempfile

SKIPPED = 77


def gdb(script, *arguments):
    result = subprocess.run(["gdb", "-nx", "-batch", "-ex", "set debuginfod enabled off", "-x", script, *arguments],
                            capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL)
    return result.stdout + result.stderr


def expect(text, pattern, where):
    if not re.search(pattern, text):
        sys.exit(f"{where}: nothing matches {pattern!r} in\n{text}")


def check(text, where):
    expect(text, r"1/\d+ 'night watch' waiting [\d.]+ s for a sleep, age", where)
    expect(text, r"1/\d+ 'parent' waiting [\d.]+ s for a fiber to end: 'child', age .*, deadline in 3[56]\d\d\.", where)
    stack = text[text.index("=== all"):text.index("=== parent")]
    expect(stack, r"(?s)3 fibers\n(1/\d+ 'night watch'[^\n]*\n){3}.*#\d+ +shop::sleeps_until_morning at \S*known_fibers.cc:\d+",
           where)
    expect(stack, r"(?s)'child'[^\n]*\n.*shop::sleeps_until_morning.*\n.*shop::naps", where)
    expect(text[text.index("=== parent"):], r"(?s)'parent'.*shop::waits_for_the_sleeper at", where)


def cores_are_files():
    pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text()
    return pattern.startswith("core") and resource.getrlimit(resource.RLIMIT_CORE)[1] != 0


def with_cores():
    resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)


def main():
    program, script = map(os.path.abspath, sys.argv[1:])
    commands = ["-ex", "penstock fibers", "-ex", "echo === all\\n", "-ex", "penstock bt"]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder,
                                   preexec_fn=with_cores)
        try:
            if process.stdout.readline() != "ready\n":
                sys.exit("the program did not start")
            live = gdb(script, "-p", str(process.pid), *commands)
            if "Operation not permitted" in live:
                print("skipped: this machine does not permit ptrace:", live.splitlines()[-1])
                return SKIPPED
            found = re.search(r"(\d+/\d+) 'parent'", live)
            if not found:
                sys.exit(f"no parent in\n{live}")
            parent = ["-ex", "echo === parent\\n", "-ex", f"penstock fiber {found[1]}"]
            check(live + gdb(script, "-p", str(process.pid), *parent), "live process")
            # The process was not disturbed, and is as it was.
            process.send_signal(signal.SIGABRT)
            if process.wait(timeout=60) != -signal.SIGABRT:
                sys.exit(f"the program ended with {process.returncode}")
        finally:
            process.kill()
            process.wait()
        if not cores_are_files():
            print("core dump not tried: this machine writes none to a program's folder")
            return 0
        core = next(pathlib.Path(folder).glob("core*"))
        check(gdb(script, program, str(core), *commands, *parent), "core dump")
    return 0


sys.exit(main())
