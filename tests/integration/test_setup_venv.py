"""tools/setup.sh making a real environment, with no packages in it: seconds, and no network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def set_up(tree: Path, **environment: str) -> str:
    """What `setup.sh runtime` says; it must succeed."""
    done = subprocess.run(
        ["/bin/sh", str(tree / "tools" / "setup.sh"), "runtime"],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_half_made_environment_is_made_again_and_a_whole_one_is_kept(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    pins = tmp_path / "requirements.txt"
    pins.write_text("# nothing\n")
    (tmp_path / "requirements-dev.txt").write_text("# nothing\n")
    left_over = tmp_path / ".venv" / "bin" / "left_over"  # an install was killed here
    left_over.parent.mkdir(parents=True)
    left_over.touch()

    assert "making it again" in set_up(tmp_path, PYTHON=sys.executable)
    assert not left_over.exists()
    venv_python = tmp_path / ".venv" / "bin" / "python"
    subprocess.run([str(venv_python), "-m", "pip", "--version"], check=True, capture_output=True)

    kept = tmp_path / ".venv" / "kept"
    kept.touch()
    assert set_up(tmp_path) == ""  # the second start: nothing to do, nothing to say
    pins.write_text("# other pins\n")
    assert "Installing requirements.txt" in set_up(tmp_path)  # into the same environment
    assert kept.exists()

    # Another Python version took the place of the one that the environment was made with.
    stamp = tmp_path / ".venv" / "stamp-runtime"
    stamp.write_text(f"3.0 {stamp.read_text().split()[1]}")
    assert "making it again" in set_up(tmp_path)
    assert not kept.exists()
