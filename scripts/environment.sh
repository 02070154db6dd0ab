# Sourced by quickstart.sh and test.sh: makes .venv in the project's root and installs into it.
# Usage: . environment.sh EXTRAS   (such as "test,lightning"); leaves the shell in the root.
unset PYTHONDONTWRITEBYTECODE # every start would compile all that it imports: 15 s instead of 5
CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." >/dev/null

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11 python; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
      >/dev/null 2>&1; then
      echo "$candidate"
      return
    fi
  done
  echo "kdanalysis needs Python 3.11 or newer; none was found (set PYTHON=/path/to/python)." >&2
  return 1
}

install_once() {
  local extras=$1 stamp=.venv/installed-$1 wanted
  # The folder is part of the stamp: a copied checkout would go on running the old one's code.
  wanted=$(echo "$PWD" | cat - pyproject.toml constraints.txt | cksum)
  if [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    return
  fi
  if [ ! -x .venv/bin/python ]; then
    local python
    python=$(find_python)
    echo "Making .venv with $("$python" --version) ..."
    if ! "$python" -m venv .venv; then
      rm -rf .venv
      echo "Python's venv module is missing or broken (on Debian: apt install python3-venv)." >&2
      return 1
    fi
  fi
  echo "Installing kdanalysis[$extras] and the pinned packages (a few minutes the first time) ..."
  # torch first: the pinned build is in place before anything else can ask for a newer one.
  # Nothing is compiled beforehand: most modules are never imported, others are when they are.
  local install=(.venv/bin/python -m pip install --disable-pip-version-check --progress-bar on
    --no-compile --constraint constraints.txt)
  "${install[@]}" torch
  "${install[@]}" --editable ".[$extras]"
  echo "$wanted" >"$stamp"
}

install_once "$1"
