"""A PostgreSQL of the demo's own, for the shops that ask one."""

import glob
import os
import pwd
import socket
import subprocess

from processes import StartError

# More than the shop has requests between two calls.
CONNECTIONS = 500


def _as_user(directory):
    """PostgreSQL refuses to be root's."""
    if os.getuid() != 0:
        return []
    user = pwd.getpwnam("postgres")
    os.chmod(os.path.dirname(directory), 0o711)
    os.chown(directory, user.pw_uid, user.pw_gid)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--pdeathsig=KILL"]


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def start(programs, port, schema=None):
    """Returns what libpq connects to. `schema` is a file of SQL that it begins with."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    if not found:
        raise StartError("PostgreSQL is not installed (scripts/setup)")
    directory = os.path.join(programs.directory, "postgresql")
    os.mkdir(directory)
    user = _as_user(directory)
    made = subprocess.run(
        [*user, f"{found[-1]}/initdb", "-D", directory, "-U", "shop", "-A", "trust", "-N"],
        cwd=directory, capture_output=True, text=True, check=False,
    )
    if made.returncode != 0:
        raise StartError(f"initdb: {made.stderr}")
    settings = {
        "port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off",
        "max_connections": 2 * CONNECTIONS, "shared_buffers": "16MB",
    }
    options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
    program = programs.start("postgresql", [*user, f"{found[-1]}/postgres", "-D", directory, *options], cwd=directory)
    program.wait_until(lambda: _listens(port), "listening")
    connection = f"host=127.0.0.1 port={port} user=shop dbname=postgres"
    if schema is not None:
        filled = subprocess.run(
            [f"{found[-1]}/psql", "-qX", "-v", "ON_ERROR_STOP=1", "-f", schema, connection],
            capture_output=True, text=True, check=False,
        )
        if filled.returncode != 0:
            raise StartError(f"{schema}: {filled.stderr}")
    return connection
