"""Set-up: each way to fail has its one line; the files around the app agree with the settings."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from lib.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def setup(tmp_path: Path) -> ModuleType:
    """tools/setup.py over an own copy of the tree that holds nothing but tools and pins."""
    shutil.copytree(ROOT / "tools", tmp_path / "tools", ignore=shutil.ignore_patterns("__*"))
    for name in ("requirements.txt", "requirements-dev.txt"):
        (tmp_path / name).write_text("# nothing\n")
    spec = importlib.util.spec_from_file_location("vecscope_setup", tmp_path / "tools" / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_setup(root: Path, task: str, **environment: str) -> tuple[int, list[str]]:
    done = subprocess.run(
        ["/bin/sh", str(root / "tools" / "setup.sh"), task],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, [*done.stdout.splitlines(), *done.stderr.splitlines()]


def write_program(path: Path, body: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


# --- choosing a Python -------------------------------------------------------------------------


def test_without_python_there_is_one_line(setup: ModuleType) -> None:
    code, lines = run_setup(setup.ROOT, "run", PATH=str(setup.ROOT / "bin"))
    assert code == 1
    assert len(lines) == 1
    assert lines[0].startswith("vecscope: Python is missing. Install Python 3.11, 3.12 or 3.13")


@pytest.mark.parametrize("version", ["2.7.18", "3.10.13", "3.14.0"])
def test_a_python_of_a_wrong_version_is_named(setup: ModuleType, version: str) -> None:
    write_program(setup.ROOT / "bin" / "python3", f"echo {version}")  # as the probe prints it
    code, lines = run_setup(setup.ROOT, "run", PATH=str(setup.ROOT / "bin"))
    assert code == 1
    assert len(lines) == 1
    assert f"python3 is {version}" in lines[0]
    assert "3.11, 3.12 or 3.13" in lines[0]


def test_a_python_without_venv_is_told_the_package(setup: ModuleType) -> None:
    # Runs the probe on a real Python that cannot import ensurepip: Debian without python3-venv.
    hide = "import sys; sys.modules['ensurepip'] = None; exec(sys.argv[-1])"
    write_program(setup.ROOT / "bin" / "python3.12", f'exec {sys.executable} -c "{hide}" "$4"')
    code, lines = run_setup(setup.ROOT, "run", PATH=str(setup.ROOT / "bin"))
    assert code == 1
    assert len(lines) == 1
    assert "python3.12 has no venv module" in lines[0]
    assert lines[0].endswith("apt install python3.12-venv")


def test_a_fitting_python_behind_a_misfit_is_taken(setup: ModuleType) -> None:
    write_program(setup.ROOT / "bin" / "python3", "echo 3.9.2")
    (setup.ROOT / "bin" / "python3.11").symlink_to(sys.executable)
    code, lines = run_setup(setup.ROOT, "run", PATH=str(setup.ROOT / "bin"), PORT="no port")
    assert code == 1
    assert len(lines) == 1
    assert lines[0].startswith("vecscope: PORT is 'no port'")  # setup.py took over


def test_a_python_that_was_named_and_cannot_run_is_said(setup: ModuleType) -> None:
    code, lines = run_setup(setup.ROOT, "run", PATH="/usr/bin:/bin", PYTHON="/nowhere/python3")
    assert code == 1
    assert len(lines) == 1
    assert "PYTHON names /nowhere/python3" in lines[0]


# --- the port ----------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_taken_port_is_named_with_a_way_out(setup: ModuleType, address: str) -> None:
    with socket.create_server((address, 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(setup.Stop, match=f"Port {port} is taken.*make run PORT="):
            setup.check_port(str(port))
    assert setup.check_port(str(port)) == port


@pytest.mark.parametrize("text", ["", "http", "-1", "0", "65536", "8501.0", "٣"])
def test_what_is_no_port_is_refused(setup: ModuleType, text: str) -> None:
    with pytest.raises(setup.Stop, match="no port"):
        setup.check_port(text)


# --- the stamp and the failures of an install --------------------------------------------------


def test_a_right_stamp_means_that_nothing_is_done(setup: ModuleType) -> None:
    setup.VENV.mkdir()
    setup.stamp_path("runtime").write_text(setup.stamp_for("runtime"))
    setup.ensure("runtime")
    assert [path.name for path in setup.VENV.iterdir()] == ["stamp-runtime"]


def test_a_failed_install_for_the_tests_leaves_the_app_its_environment(setup: ModuleType) -> None:
    setup.VENV.mkdir()
    setup.stamp_path("runtime").write_text(setup.stamp_for("runtime"))
    with pytest.raises(FileNotFoundError):  # nothing can be installed: there is no bin/python
        setup.ensure("dev")
    setup.ensure("runtime")


def test_the_stamp_follows_the_pins(setup: ModuleType) -> None:
    before = {kind: setup.stamp_for(kind) for kind in setup.REQUIREMENTS}
    (setup.ROOT / "requirements-dev.txt").write_text("pytest==9.2.0\n")
    assert setup.stamp_for("runtime") == before["runtime"]
    assert setup.stamp_for("dev") != before["dev"]
    (setup.ROOT / "requirements.txt").write_text("click==8.5.1\n")
    assert setup.stamp_for("runtime") != before["runtime"]


# Lines that pip really printed: on a full file system, in a network namespace of its own, and for
# a package without a wheel.
FULL = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"
OFFLINE = (
    "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after "
    "connection broken by 'NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection "
    "object at 0x7f>: Failed to establish a new connection: [Errno -3] Temporary failure in name "
    "resolution')': /simple/alembic/\n"
    "ERROR: Could not find a version that satisfies the requirement alembic==1.20.1\n"
    "ERROR: No matching distribution found for alembic==1.20.1\n"
)
NO_WHEEL = "ERROR: No matching distribution found for alembic==1.20.1\n"


def test_a_failed_install_is_explained_in_one_line(setup: ModuleType) -> None:
    assert setup.explain(FULL).startswith("The disk is full")
    assert setup.explain(OFFLINE + FULL).startswith("The disk is full")
    assert "no connection to the package index" in setup.explain(OFFLINE)
    other = setup.explain(f"Collecting alembic\n{NO_WHEEL}")
    assert "No matching distribution found for alembic==1.20.1" in other
    assert setup.INSTALL_LOG.read_text().startswith("Collecting alembic")
    assert "\n" not in other


def test_a_failed_command_ends_in_stop(setup: ModuleType) -> None:
    command = [sys.executable, "-c", f"raise SystemExit({FULL!r})"]
    with Path(setup.__file__).open() as lock, pytest.raises(setup.Stop, match="disk is full"):
        setup._call(command, lock.fileno())


# --- files that must agree with the settings ---------------------------------------------------


def setting_names() -> set[str]:
    return {
        str(field.validation_alias or f"VECSCOPE_{name.upper()}")
        for name, field in Settings.model_fields.items()
    }


def env_example() -> dict[str, str]:
    """Name → value, set or not, each under its one line of explanation."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    found = {}
    for above, line in pairwise(lines):
        if match := re.fullmatch(r"#?([A-Z][A-Z_]+)=(\S*)", line):
            assert above.startswith("# "), f"{line} has no explanation above it"
            found[match[1]] = match[2]
    return found


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def test_each_setting_is_in_the_example_and_no_other() -> None:
    outside = {"POSTGRES_PASSWORD", "POSTGRES_PORT", "OPENAI_API_KEY", "COHERE_API_KEY"}
    assert set(env_example()) == setting_names() | outside


def test_the_example_can_be_copied_as_it_is_and_shows_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in setting_names():
        monkeypatch.delenv(name, raising=False)
    defaults = Settings(_env_file=None).model_dump()
    assert Settings(_env_file=ROOT / ".env.example").model_dump() == defaults

    everything = tmp_path / "env"
    everything.write_text("\n".join(f"{name}={value}" for name, value in env_example().items()))
    monkeypatch.chdir(ROOT)
    shown = Settings(_env_file=everything).model_dump()
    examples = {"database_url", "openai_base_url"}  # set there, empty by default
    assert shown["home"].resolve() == defaults["home"]
    for name in set(defaults) - examples - {"home"}:
        assert shown[name] == defaults[name], name


def test_compose_hands_each_setting_on() -> None:
    handed_on = set(compose()["services"]["app"]["environment"])
    # VECSCOPE_HOME is the image's: its volume. Paths of the host mean nothing in there.
    assert handed_on >= setting_names() - {"VECSCOPE_HOME"} | {"OPENAI_API_KEY", "COHERE_API_KEY"}


def test_compose_is_on_loopback_keeps_its_data_and_demands_a_password() -> None:
    services = compose()["services"]
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert services["db"]["volumes"] == ["db:/var/lib/postgresql"]
    assert services["db"]["environment"]["POSTGRES_PASSWORD"].startswith("${POSTGRES_PASSWORD:?")
    assert services["app"]["depends_on"] == {"db": {"condition": "service_healthy"}}
    assert {"db", "home"} == set(compose()["volumes"])


def test_no_secret_can_get_into_the_image() -> None:
    """.dockerignore shuts everything out but a list, and the list holds only what runs."""
    first, *rest = [
        line for line in (ROOT / ".dockerignore").read_text().split("\n") if line[:1] not in "#"
    ]
    assert first == "*"
    let_in = {line[1:] for line in rest if line.startswith("!")}
    assert let_in == {
        *("app.py", "pages", "lib", "migrations", "alembic.ini", ".streamlit"),
        *("requirements.txt", "pyproject.toml"),
    }


# --- the theme ---------------------------------------------------------------------------------


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, 1 to 21 (WCAG 2.2, "relative luminance")."""

    def luminance(colour: str) -> float:
        parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_the_theme_is_readable(mode: str) -> None:
    theme = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())["theme"][mode]
    for ground in (theme["backgroundColor"], theme["secondaryBackgroundColor"]):
        for name in ("textColor", "linkColor", "codeTextColor", "dataframeHeaderTextColor"):
            assert contrast(theme[name], ground) >= 4.5, name
        assert contrast(theme["primaryColor"], ground) >= 3
    assert contrast("#ffffff", theme["primaryColor"]) >= 4.5  # the words on a primary button
    assert len(theme["chartSequentialColors"]) == len(theme["chartDivergingColors"]) == 10
    if mode == "dark":
        for colour in theme["chartCategoricalColors"]:
            assert contrast(colour, theme["backgroundColor"]) >= 3, colour


def test_streamlit_knows_every_option_that_is_set() -> None:
    """A misspelt option is only a warning in Streamlit's log."""
    shown = subprocess.run(
        [sys.executable, "-m", "streamlit", "config", "show"],
        cwd=ROOT,
        env={**os.environ, "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "not a valid config option" not in shown.stdout + shown.stderr
    assert "gatherUsageStats = false" in shown.stdout
