#!/usr/bin/env bash
# Trains a small teacher and students, and writes quickstart/report.html.
# Arguments are passed on: bash scripts/quickstart.sh --out DIR --seed 1
set -euo pipefail
here=$PWD
. "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh" notebooks
python=$PWD/.venv/bin/python
cd "$here" # so that a relative --out means what the caller means
# --overwrite replaces only what an earlier quickstart wrote
exec "$python" -m kdanalysis quickstart --overwrite "$@"
