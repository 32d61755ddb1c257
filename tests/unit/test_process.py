"""Worker processes: what a real child gets, and how its end is told."""

import json
import os
import signal
import sys
import time

import psutil
import pytest

from lib.process import PASSED_ON, WorkerDied, WorkerProcess

SECRETS = {
    "OPENAI_API_KEY": "sk-secret",
    "COHERE_API_KEY": "secret",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "DATABASE_URL": "postgresql://me:secret@host/db",
    "PGPASSWORD": "secret",
    "VECSCOPE_OPENAI_BASE_URL": "https://user:secret@proxy",
    "PYTHONANYWHERE_API_TOKEN": "secret",
    "GITHUB_TOKEN": "secret",
}


@pytest.fixture
def child(tmp_path, monkeypatch):
    """Starts a worker of this code, which finds the pipes in ``orders`` and ``answers``."""
    workers = []
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def start(code, arguments=(), **options):
        head = "from lib.process import limit_memory, take_pipes\norders, answers = take_pipes()\n"
        (tmp_path / "child_of_a_test.py").write_text(head + code)
        workers.append(WorkerProcess("child_of_a_test", arguments, **options))
        return workers[-1]

    yield start
    for worker in workers:
        worker.kill()
        worker.close()


def is_running(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


PRINTS_ENVIRONMENT = """
import json, os, sys
answers.write(json.dumps([dict(os.environ), sys.argv[1:]]).encode())
"""


def test_a_child_gets_no_key_no_password_and_no_address_of_a_database(child, monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    text = child(PRINTS_ENVIRONMENT, ["a"], environment={"OWN": "1"}).stdout.read().decode()
    environment, arguments = json.loads(text)
    assert "secret" not in text
    assert not SECRETS.keys() & environment.keys()
    assert (environment["PATH"], environment["OMP_NUM_THREADS"]) == (os.environ["PATH"], "3")
    assert (environment["OWN"], arguments) == ("1", ["a"])
    # Python and the system's library add what they need at the start.
    assert set(environment) <= {*PASSED_ON, "OWN", "LC_CTYPE", "__CF_USER_TEXT_ENCODING"}


def test_the_three_workers_that_there_are_get_none_of_it_either(monkeypatch):
    from lib.ingest.isolation import DEFAULT_LIMITS, _Worker
    from lib.lab.clients import Clients
    from lib.projection.process import _Worker as MapWorker

    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    reader, clients, map_worker = _Worker(DEFAULT_LIMITS), Clients(1), MapWorker(64 * 1024**3)
    try:
        for pid in (reader._process.pid, *clients.pids, map_worker._process.pid):
            process = psutil.Process(pid)
            assert not SECRETS.keys() & process.environ().keys()
            assert "secret" not in " ".join([*process.environ().values(), *process.cmdline()])
    finally:
        reader.kill()
        reader.close()
        clients.close()
        map_worker.kill()
        map_worker.close()


def test_what_a_library_prints_does_not_get_between_the_answers(child):
    worker = child("print('noise', flush=True); answers.write(b'answer')")
    assert worker.stdout.read() == b"answer"
    assert worker.died().stderr_tail == "noise\n"


def test_orders_arrive_and_the_end_of_them_ends_a_worker(child):
    worker = child("answers.write(orders.read()[::-1])")
    worker.stdin.write(b"abc")
    worker.stdin.close()
    assert worker.stdout.read() == b"cba"
    assert worker.wait() == 0


def test_a_killed_child_is_told_by_its_signal(child):
    worker = child(
        "import sys; print('last words', file=sys.stderr, flush=True)\n"
        "answers.write(b'x'); answers.flush(); orders.read()"
    )
    assert worker.stdout.read(1) == b"x"
    worker.kill()
    died = worker.died("time")
    assert isinstance(died, WorkerDied)
    assert (died.code, died.signal_name, died.how) == (-signal.SIGKILL, "SIGKILL", "SIGKILL")
    assert (died.reason, died.stderr_tail) == ("time", "last words\n")


def test_a_child_that_ends_by_itself_is_told_by_its_return_code(child):
    died = child("raise SystemExit(3)").died()
    assert (died.code, died.signal_name, died.how) == (3, "", "return code 3")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a limit of address space")
def test_a_child_has_no_more_memory_than_it_was_given(child):
    worker = child("limit_memory(256 * 1024**2); bytearray(10**9); answers.write(b'never')")
    assert worker.stdout.read() == b""
    died = worker.died()
    assert died.code == 1
    assert "MemoryError" in died.stderr_tail


def test_only_the_end_of_a_long_stderr_is_told(child):
    died = child("import sys; sys.stderr.write('x' * 10_000 + 'end'); sys.exit(1)").died()
    assert len(died.stderr_tail) == 4096
    assert died.stderr_tail.endswith("xend")


def test_a_process_that_a_worker_started_ends_with_it(child):
    worker = child(
        "import subprocess, sys\n"
        "inner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "answers.write(b'%d\\n' % inner.pid); answers.flush(); orders.read()"
    )
    inner = psutil.Process(int(worker.stdout.readline()))
    worker.kill()
    worker.wait()
    deadline = time.monotonic() + 10  # long before its minute is over
    while is_running(inner) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(inner)


def test_closing_ends_a_worker_that_does_not_listen(child):
    worker = child("import time; answers.write(b'x'); answers.flush(); time.sleep(60)")
    assert worker.stdout.read(1) == b"x"
    worker.close(timeout_seconds=0.1)
    assert not worker.is_alive
    assert worker.wait() == -signal.SIGKILL
