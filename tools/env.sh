# Sourced by the other scripts: how QGIS is found and run without harm from the caller's shell.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
SYSTEM_PATH=/usr/bin:/bin:/usr/sbin:/sbin

say() { printf '%s\n' "$*"; }
fail() { printf 'Error: %s\n' "$*" >&2; exit 1; }

# at_least NAME FOUND MINIMUM WHAT_TO_DO : ends the script where a version is too old.
at_least() {
    local oldest
    oldest=$(printf '%s\n' "$2" "$3" | sort -V | head -n 1)
    [ "$oldest" = "$3" ] || fail "$1 ${2:-(unknown)} is too old, $3 or newer is needed: $4"
}

# An active pyenv or virtual environment makes QGIS load a foreign Python and crash.
qgis_env() {
    local unset_args=() name
    while IFS= read -r name; do unset_args+=(-u "$name"); done \
        < <(compgen -e | grep -E '^(PYENV_.*|VIRTUAL_ENV.*|PYTHON.*|CONDA_.*|QT_.*)$' || true)
    env "${unset_args[@]}" PATH="$SYSTEM_PATH" QT_SCALE_FACTOR_ROUNDING_POLICY=Round "$@"
}

# Debian's wrapper `qgis_process` of 3.22 passes a flag that the program does not know.
find_qgis_process() {
    local name
    for name in qgis_process.bin qgis_process; do
        if [ -x "/usr/bin/$name" ]; then printf '/usr/bin/%s' "$name"; return; fi
    done
    PATH="$SYSTEM_PATH" command -v qgis_process || true
}

runtime_dir() {
    local folder="$ROOT/build/runtime"
    mkdir -p "$folder" && chmod 0700 "$folder" && printf '%s' "$folder"
}

qgis_process_run() {
    qgis_env QT_QPA_PLATFORM=offscreen XDG_RUNTIME_DIR="$(runtime_dir)" "$(find_qgis_process)" "$@"
}
