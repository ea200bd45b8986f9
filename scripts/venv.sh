# Sourced by the other scripts: `install FILE...` brings .venv to the pinned versions in FILEs, and likd into it.
# PYTHON is the interpreter, VENV the place, if they are to be others.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${VENV:-$root/.venv}

install() {
  local python=${PYTHON:-python3} wanted
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "likd needs Python 3.11 or newer; set PYTHON to one" >&2
    exit 2
  }
  wanted=$(cd "$root" && cat "$@" pyproject.toml | sha256sum)
  if [[ ! -x $venv/bin/python || "$(cat "$venv/installed-$*" 2>/dev/null)" != "$wanted" ]]; then
    echo "installing what likd needs into ${venv#"$root/"}: this takes about a minute, once" >&2
    [[ -x $venv/bin/python ]] || "$python" -m venv "$venv"
    local files=()
    for file in "$@"; do files+=(-r "$root/$file"); done
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "${files[@]}"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --editable "$root"
    echo "$wanted" > "$venv/installed-$*"
  fi
}
