"""Makes `.venv`, keeps it equal to the pinned requirements, and starts the dashboard.

It runs before anything is installed, so it uses the standard library only. `tools/setup.sh` picks
the interpreter and calls it as

    setup.py run        install what is missing, then serve app.py on PORT (8501)
    setup.py runtime    install what is missing from requirements.txt
    setup.py dev        the same, and requirements-dev.txt

A stamp in `.venv`, written last, holds what was installed. Where it is missing the environment is
half made, and is made again; where it is right nothing is done.
"""

from __future__ import annotations

import errno
import os
import sys
from hashlib import sha256
from pathlib import Path
from shutil import disk_usage, rmtree
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
INSTALL_LOG = ROOT / ".vecscope" / "install.log"
REQUIREMENTS = {
    "runtime": ("requirements.txt",),
    "dev": ("requirements.txt", "requirements-dev.txt"),
}
DEFAULT_PORT = "8501"
NEXT_TO_NOTHING_BYTES = 10 * 2**20

DISK_FULL = (
    "The disk is full: the packages need about 1.5 GB in {venv} and room in the folder for "
    "temporary files. Free some space, then try again."
)
NO_NETWORK = (
    "The packages cannot be fetched: there is no connection to the package index. "
    "Check the network (or the proxy), then try again."
)
# pip names the cause only in its output. The first match counts: a full disk can break a
# connection, a broken connection makes pip say that a package does not exist.
_SIGNS = (
    (("No space left on device", "Errno 28", "Disk quota exceeded"), DISK_FULL),
    (
        (
            "Failed to establish a new connection",
            "NewConnectionError",
            "NameResolutionError",
            "name resolution",
            "Network is unreachable",
            "ConnectTimeoutError",
            "ReadTimeoutError",
            "Read timed out",
            "ProxyError",
            "Connection aborted",
            "ConnectionResetError",
        ),
        NO_NETWORK,
    ),
)


class Stop(Exception):
    """Set-up cannot go on; the text is the one line that people see."""


def python_version() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def stamp_for(kind: str) -> str:
    """What the stamp of a finished environment says: Python version and hash of the pins."""
    pins = b"\0".join((ROOT / name).read_bytes() for name in REQUIREMENTS[kind])
    return f"{python_version()} {sha256(pins).hexdigest()}"


def stamp_path(kind: str) -> Path:
    return VENV / f"stamp-{kind}"


def read_stamp(kind: str) -> str:
    try:
        return stamp_path(kind).read_text()
    except FileNotFoundError:
        return ""


def ensure(kind: str) -> None:
    """Leaves `.venv` with exactly the pins of `kind`, doing nothing where it already has them."""
    if read_stamp(kind) == stamp_for(kind):
        return
    import fcntl

    # This file is the lock: two `make` at once must not build one environment. What they start
    # holds it too: pip outlives a set-up that was killed, and goes on writing.
    with Path(__file__).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another set-up is at work on .venv: waiting for it to end.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if read_stamp(kind) != stamp_for(kind):
            _install(kind, lock.fileno())


def _install(kind: str, lock: int) -> None:
    made_before = read_stamp("runtime").startswith(f"{python_version()} ")
    # A stamp that is still right stays: `make test` without a network must not break `make run`.
    for each in REQUIREMENTS:
        if read_stamp(each) != stamp_for(each):
            stamp_path(each).unlink(missing_ok=True)
    try:
        if not made_before:
            _make_venv(lock)
        files = REQUIREMENTS[kind]
        time = "" if made_before else " (one to three minutes, this once)"
        say(f"Installing {' and '.join(files)} into .venv{time}.")
        _call(
            [
                *(str(VENV_PYTHON), "-I", "-m", "pip", "install", "--no-input"),
                *("--disable-pip-version-check", "--progress-bar", "off"),
                *("--only-binary", ":all:"),  # nothing may need a compiler
                *(part for name in files for part in ("-r", str(ROOT / name))),
            ],
            lock,
            packages=sum(_count_pins(ROOT / name) for name in files),
        )
        for each, names in REQUIREMENTS.items():
            if set(names) <= set(files):
                stamp_path(each).write_text(stamp_for(each))
    except BaseException:
        if not made_before:  # half an environment is of no use, and may be what fills the disk
            rmtree(VENV, ignore_errors=True)
        raise


def _make_venv(lock: int) -> None:
    if Path(sys.executable).is_relative_to(VENV):
        # The Python under .venv was replaced by another version: start over from outside.
        os.execv("/bin/sh", ["sh", str(ROOT / "tools" / "setup.sh"), sys.argv[1]])
    if VENV.exists():
        say("The environment in .venv is unfinished or of another Python: making it again.")
        rmtree(VENV)
    say(f"Making .venv with Python {python_version()} ({sys.executable}).")
    _call([sys.executable, "-I", "-m", "venv", str(VENV)], lock)


def _count_pins(path: Path) -> int:
    return sum("==" in line for line in path.read_text().splitlines())


def _call(command: list[str], lock: int, *, packages: int = 0) -> None:
    """Runs a command to its end; with `packages`, a terminal sees pip's progress.

    Raises Stop with the one line that says what went wrong.
    """
    import subprocess

    output: list[str] = []
    collected = 0
    progress = packages > 0 and sys.stderr.isatty()
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=(lock,),
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            output.append(line)
            if progress and line.startswith("Collecting "):
                collected += 1
                sys.stderr.write(f"\r  {collected} of about {packages} packages")
                sys.stderr.flush()
            elif progress and line.startswith("Installing collected packages"):
                sys.stderr.write("\r  fetched; writing them to .venv      ")
                sys.stderr.flush()
    if progress:
        sys.stderr.write("\r" + " " * 40 + "\r")
    if process.returncode:
        raise Stop(explain("".join(output)))


def explain(output: str) -> str:
    """One line for people from the output of a failed `venv` or `pip`."""
    for signs, sentence in _SIGNS:
        if any(sign in output for sign in signs):
            return sentence.format(venv=VENV)
    # Python's own venv keeps pip's words to itself when the disk is full.
    if disk_usage(ROOT).free < NEXT_TO_NOTHING_BYTES:
        return DISK_FULL.format(venv=VENV)
    errors = [line for line in output.splitlines() if line.startswith("ERROR")]
    last = (errors or output.strip().splitlines() or ["no output"])[-1]
    INSTALL_LOG.parent.mkdir(exist_ok=True)
    INSTALL_LOG.write_text(output)
    return f"The packages cannot be installed ({last}). The whole output is in {INSTALL_LOG}."


def check_port(text: str) -> int:
    """The port as a number. Raises Stop where it is none, is taken or is not allowed."""
    import socket

    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise Stop(f"PORT is {text!r}, which is no port. Choose one: make run PORT=8502")
    port = int(text)
    # Connecting finds a listener on every address; binding finds the rest (a port below 1024).
    with socket.socket() as client:
        client.settimeout(1)
        taken = client.connect_ex(("127.0.0.1", port)) == 0
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("127.0.0.1", port))
        except PermissionError:
            raise Stop(
                f"Port {port} needs more rights than this user has. "
                "Choose a higher one: make run PORT=8502"
            ) from None
        except OSError:
            taken = True
    if taken:
        other = port + 1 if port < 65535 else port - 1
        raise Stop(
            f"Port {port} is taken, maybe by a Vecscope that runs already "
            f"(see http://localhost:{port}). Choose another one: make run PORT={other}"
        )
    return port


def serve(port: int) -> NoReturn:
    os.chdir(ROOT)
    command = [str(VENV_PYTHON), "-m", "streamlit", "run", "app.py", f"--server.port={port}"]
    os.execv(command[0], command)


def say(line: str) -> None:
    sys.stderr.write(f"vecscope: {line}\n")
    sys.stderr.flush()


def main(task: str) -> int:
    try:
        if task == "run":
            port = check_port(os.environ.get("PORT") or DEFAULT_PORT)
            ensure("runtime")
            serve(port)
        ensure(task)
    except Stop as exc:
        say(str(exc))
        return 1
    except KeyboardInterrupt:
        say("Interrupted. The next start installs what is missing.")
        return 130
    except OSError as exc:
        if exc.errno in {errno.ENOSPC, errno.EDQUOT}:
            say(DISK_FULL.format(venv=VENV))
        else:
            say(f"{exc.strerror or exc}: {exc.filename or ROOT}.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
