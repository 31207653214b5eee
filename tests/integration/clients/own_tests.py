"""The own test programs of hiredis and libpq, unmodified from Debian's source packages, on a fiber.

  own_tests.py BUILD [FOLDER]

Gets the sources with `apt-get source` (deb-src of bookworm's main; a FOLDER that has them already is used as it is),
builds the tests as shared libraries against the libraries of the system, and calls their main() by main-on-fiber, once
on the plain thread and once on a fiber, with real servers. Not part of ctest: it needs the network.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "bench"))
import clients  # noqa: E402

APT = pathlib.Path("/etc/apt")
ROWS = "700"


def fetch(folder):
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    # Where this machine's packages come from, their sources do.
    (folder / "parts").mkdir()
    for listed in [APT / "sources.list", *APT.glob("sources.list.d/*.list"), *APT.glob("sources.list.d/*.sources")]:
        if listed.exists():
            text = re.sub(r"^deb ", "deb-src ", listed.read_text(), flags=re.M)
            (folder / "parts" / listed.name).write_text(re.sub(r"^Types:.*", "Types: deb-src", text, flags=re.M))
    apt = ["apt-get", "-q", "-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::Etc::sourceparts={folder}/parts",
           "-o", f"Dir::State::lists={folder}/lists", "-o", f"Dir::Cache={folder}/cache"]
    quiet = {"check": True, "cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(apt + ["update"], **quiet)
    subprocess.run(apt + ["source", "--download-only", "hiredis/bookworm", "postgresql-15/bookworm"], **quiet)


def unpack(folder, pattern, *parts):
    archive = next(folder.glob(pattern))
    subprocess.run(["tar", "xf", archive, "--wildcards", *(f"*/{part}" for part in parts)], check=True, cwd=folder)


def shared(out, sources, *options):
    subprocess.run(["gcc", "-O1", "-w", "-shared", "-fPIC", "-o", out, *sources, *options], check=True)
    return out


def hiredis(folder):
    unpack(folder, "hiredis_*.orig.tar.*", "*.c", "*.h")
    source = next(folder.glob("hiredis-*"))
    return shared(folder / "hiredis.so", [source / "test.c"], f"-I{source}", "-lhiredis")


def libpq(folder):
    parts = ("src/test/examples/*", "src/test/modules/libpq_pipeline/*", "src/include/common/fe_memutils.h",
             "src/include/portability/instr_time.h", "src/include/pg_getopt.h", "src/include/libpq/*",
             "src/include/catalog/pg_type.dat")
    unpack(folder, "postgresql-15_*.orig.tar.*", *parts)
    source = next(folder.glob("postgresql-15*/"))
    # Generated in a build of the server: the numbers of the types that the tests name.
    types = folder / "catalog"
    types.mkdir(exist_ok=True)
    numbers = {"INT4": 23, "INT8": 20, "TEXT": 25, "NUMERIC": 1700, "INTERVAL": 1186}
    (types / "pg_type_d.h").write_text("".join(f"#define {name}OID {number}\n" for name, number in numbers.items()))
    include = [f"-I{folder}", "-I/usr/include/postgresql", "-I/usr/include/postgresql/internal"]
    tests = source / "src/test"
    pipeline = shared(folder / "libpq_pipeline.so",
                      [tests / "modules/libpq_pipeline/libpq_pipeline.c", HERE / "libpq_frontend.c"], *include,
                      f"-I{source}/src/include", "-lpq")
    examples = {name: shared(folder / f"{name}.so", [tests / "examples" / f"{name}.c"], *include,
                             f"-I{source}/src/include", "-lpq") for name in ("testlibpq", "testlibpq3", "testlo")}
    return pipeline, examples, tests


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    harness = build / "tests/integration/clients/main-on-fiber"
    failed = 0

    def outcome(name, command, **options):
        nonlocal failed
        runs = {}
        for how in ("plain", "fiber"):
            full = [harness] + (["--plain"] if how == "plain" else []) + [str(part) for part in command(how)]
            runs[how] = subprocess.run(full, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
                                       errors="replace", **options)
        good = all(run.returncode == 0 for run in runs.values())
        failed += not good
        print(f"{name}: plain {runs['plain'].returncode}, on a fiber {runs['fiber'].returncode}", flush=True)
        if not good:
            print("\n".join(f"--- {how}\n{run.stdout[-2000:]}" for how, run in runs.items()))
        return runs

    with tempfile.TemporaryDirectory(prefix="penstock-own-tests-") as temporary:
        folder = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else temporary).resolve()
        if not list(folder.glob("*.orig.tar.*")):
            fetch(folder)
        os.chmod(temporary, 0o755)
        test_of_hiredis = hiredis(folder)
        pipeline, examples, tests = libpq(folder)
        with clients.redis(temporary, 100, "--unixsocket", f"{temporary}/redis.sock",
                           "--enable-debug-command", "local") as where:
            runs = outcome("hiredis", lambda how: [test_of_hiredis, "-h", "127.0.0.1", "-p", where.split(":")[1],
                                                   "-s", f"{temporary}/redis.sock"])
            print(f"  {runs['fiber'].stdout.count('PASSED')} checks")
        with clients.postgresql(temporary, 100) as where:
            server = f"host=127.0.0.1 port={where.split(':')[1]} user=bench"
            # What one run leaves behind shows in the trace of the next.
            database = {how: f"{server} dbname={how}" for how in ("plain", "fiber")}
            for how in database:
                subprocess.run(["psql", "-q", f"{server} dbname=postgres", "-c", f"CREATE DATABASE {how}"], check=True)
            run = subprocess.run([harness, "--plain", pipeline, "tests"], stdout=subprocess.PIPE, text=True, check=True)
            for name in run.stdout.split():
                expected = tests / f"modules/libpq_pipeline/traces/{name}.trace"
                trace = {how: folder / f"{name}.{how}.trace" for how in ("plain", "fiber")}
                traced = expected.exists()
                runs = outcome(f"libpq_pipeline {name}",
                               lambda how: [pipeline, "-r", ROWS] + (["-t", trace[how]] if traced else []) + [name, database[how]])
                for how in runs if traced else ():
                    if trace[how].read_text() != expected.read_text():
                        failed += 1
                        print(f"  the trace of what was sent differs: {how}")
            for name, library in examples.items():
                if name == "testlibpq3":
                    script = (tests / "examples/testlibpq3.sql").read_text()
                    for each in database.values():
                        subprocess.run(["psql", "-q", each], input=script, text=True, check=True)
                files = []
                if name == "testlo":
                    files = [folder / "large", folder / "large-read"]
                    files[0].write_bytes(bytes(range(256)) * 4096)
                outcome(name, lambda how: [library, database[how]] + files)
    print("all passed" if failed == 0 else f"{failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
