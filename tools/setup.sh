#!/bin/sh
# Picks a Python and hands over to setup.py; in sh, because there may be no Python at all.
# Only shell built-ins: it must not depend on what else is installed.
#
#   sh tools/setup.sh run|runtime|dev        PYTHON=/path/to/python overrides the choice
set -eu
cd "${0%/*}/.."
task=$1

# A finished .venv checks itself: one short process, so that a second start is quick.
if [ -z "${PYTHON:-}" ] && [ -f .venv/stamp-runtime ] && [ -x .venv/bin/python ]; then
    exec .venv/bin/python -I -S tools/setup.py "$task"
fi

# Must run on any Python ever made, and say what is wrong with it.
probe='
import sys
if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    print("%d.%d.%d" % sys.version_info[:3])
else:
    try:
        import ensurepip, venv
        print("fits")
    except ImportError:
        print("no venv")
'

if [ -n "${PYTHON:-}" ]; then
    set -- "$PYTHON"
else
    set -- python3 python3.13 python3.12 python3.11
fi
no_venv=
misfits=
for python in "$@"; do
    found=$("$python" -E -S -c "$probe" 2>/dev/null) || continue
    case $found in
        fits) exec "$python" -I -S tools/setup.py "$task" ;;
        "no venv") no_venv=${no_venv:-$python} ;;
        *) misfits="${misfits:+$misfits, }$python is $found" ;;
    esac
done

if [ -n "$no_venv" ]; then
    problem="$no_venv has no venv module. On Debian or Ubuntu, as root: apt install ${no_venv##*/}-venv"
elif [ -n "$misfits" ]; then
    problem="Python 3.11, 3.12 or 3.13 is needed, but $misfits. Install one, or name one: make run PYTHON=/path/to/python3.12"
elif [ -n "${PYTHON:-}" ]; then
    problem="PYTHON names $PYTHON, which cannot be run. Correct it, or leave it away."
else
    problem="Python is missing. Install Python 3.11, 3.12 or 3.13 (with its venv module), then try again."
fi
echo "vecscope: $problem" >&2
exit 1
