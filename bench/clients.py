"""Unmodified clients: a thousand calls of a second each at once, on fibers of one thread and on as many threads."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time

import report

COUNT = 1000
TARGETS = ["bench-clients-penstock", "bench-clients-threads", "bench-clients-server"]
POSTGRESQL = "/usr/lib/postgresql/15/bin"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def as_user(name, folder):
    """Servers that refuse to be root's: what runs a command as another user, to whom the folder is given."""
    if os.getuid() != 0:
        return []
    user = pwd.getpwnam(name)
    os.chown(folder, user.pw_uid, user.pw_gid)
    return ["setpriv", f"--reuid={name}", f"--regid={user.pw_gid}", "--clear-groups"]


@contextlib.contextmanager
def running(command, port, **options):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"bench: {command[-1]} does not start") from None
                time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def postgresql(folder, connections):
    data, port = os.path.join(folder, "postgresql"), free_port()
    os.mkdir(data)
    user = as_user("postgres", data)
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "cwd": data}
    subprocess.run(user + [f"{POSTGRESQL}/initdb", "-D", data, "-U", "bench", "-A", "trust", "-N"], **quiet)
    settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "",
                "max_connections": connections + 20, "shared_buffers": "16MB", "fsync": "off", "jit": "off"}
    options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
    with running(user + [f"{POSTGRESQL}/postgres", "-D", data] + options, port, cwd=data) as where:
        yield where


@contextlib.contextmanager
def mariadb(folder, connections):
    data, port = os.path.join(folder, "mariadb"), free_port()
    os.mkdir(data)
    user = as_user("mysql", data)
    program = shutil.which("mariadbd", path="/usr/sbin:" + os.environ["PATH"])
    subprocess.run(user + ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--skip-test-db",
                           "--auth-root-authentication-method=normal"],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=data)
    with open(os.path.join(data, "init.sql"), "w", encoding="utf-8") as init:
        init.write("CREATE USER bench@'127.0.0.1';\nCREATE USER bench@localhost;\n")
    command = user + [program, "--no-defaults", f"--datadir={data}", f"--port={port}", "--bind-address=127.0.0.1",
                      f"--socket={data}/socket", f"--max-connections={connections + 20}", "--thread-stack=192K",
                      f"--init-file={data}/init.sql", "--back-log=1024", "--innodb-buffer-pool-size=32M"]
    with running(command, port, cwd=data) as where:
        yield where


@contextlib.contextmanager
def redis(folder, connections, *options):
    port = free_port()
    with running(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                  "--maxclients", str(connections + 20), "--tcp-backlog", "1024", "--hz", "100", *options], port, cwd=folder) as where:
        yield where


@contextlib.contextmanager
def slow_server(build, folder):
    """The addresses of its HTTP, HTTPS and SMTP servers."""
    key, certificate = (os.path.join(folder, name) for name in ("key.pem", "certificate.pem"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
                    "-out", certificate, "-days", "2", "-subj", "/CN=localhost"],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process = subprocess.Popen([f"{build}/bench/clients/bench-clients-server", certificate, key], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    try:
        yield process.stdout.readline().split()
    finally:
        process.kill()
        process.wait()


def measure(build, subject, client, where, count):
    """One run of one client; the metrics that it tells."""
    run = subprocess.run([f"{build}/bench/clients/bench-clients-{subject}", client, where, str(count)],
                         stdout=subprocess.PIPE, text=True, timeout=120, check=False)
    wall, cpu, rss, failed = run.stdout.split()
    return {"wall_s": float(wall), "cpu_s": float(cpu), "rss_mib": float(rss), "failed": int(failed)}


@contextlib.contextmanager
def servers(build, folder, connections):
    """For each client what it calls."""
    with contextlib.ExitStack() as stack:
        web, secured, mail = stack.enter_context(slow_server(build, folder))
        yield {"libcurl": web, "libcurl-tls": secured, "openssl": secured, "smtp": mail,
               "hiredis": stack.enter_context(redis(folder, connections)),
               "libpq": stack.enter_context(postgresql(folder, connections)),
               "libmariadb": stack.enter_context(mariadb(folder, connections))}


def run(build, options):
    rows = report.Rows()
    subjects = options.subjects or ["penstock", "threads"]
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        os.chmod(folder, 0o755)
        with servers(build, folder, COUNT) as places:
            for _ in range(options.runs):
                for client, where in places.items():
                    for subject in subjects:
                        rows.add(f"{client} {COUNT} x 1 s", subject, **measure(build, subject, client, where, COUNT))
    return rows.medians()
