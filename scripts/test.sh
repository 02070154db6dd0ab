#!/usr/bin/env bash
# Checks that what is installed fits together, and the code style, and runs the tests.
# Arguments go to pytest: bash scripts/test.sh tests/losses
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh" test,lightning,transformers,trl
.venv/bin/python -m pip --disable-pip-version-check check
.venv/bin/ruff check .
.venv/bin/ruff format --check .
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # one thread a test process: the processes share cores
exec .venv/bin/python -m pytest --numprocesses auto --dist worksteal "$@"
