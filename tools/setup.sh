#!/usr/bin/env bash
# Installs what is missing: QGIS by the system's package manager, the worker's environment
# (.venv) and the environment of the QGIS tests (.venv-qgis). Safe to run again.
set -euo pipefail
source "$(dirname "$0")/env.sh"
cd "$ROOT"

APT_PACKAGES=(qgis python3-qgis qgis-providers xvfb python3-venv)
SYSTEM_PYTHON=/usr/bin/python3

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; return; fi
    command -v sudo >/dev/null || fail "QGIS has to be installed, which needs root: install sudo or run as root: apt-get install ${APT_PACKAGES[*]}"
    sudo "$@"
}

missing_system_parts() {
    [ -n "$(find_qgis_process)" ] || echo qgis
    [ -x /usr/bin/qgis ] || echo qgis
    [ -x "$SYSTEM_PYTHON" ] && "$SYSTEM_PYTHON" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
    [ -x "$SYSTEM_PYTHON" ] && qgis_env "$SYSTEM_PYTHON" -c 'import qgis.core' 2>/dev/null || echo python3-qgis
    [ -x /usr/bin/Xvfb ] || echo xvfb
}

install_system_parts() {
    local missing
    missing=$(missing_system_parts | sort -u | tr '\n' ' ')
    [ -n "${missing// /}" ] || return 0
    command -v apt-get >/dev/null || fail "Missing: ${missing}. This system has no apt: install QGIS 3.22 or newer with its Python bindings (https://qgis.org/download), Xvfb and Python's venv module yourself, then run this again."
    say "Installing by apt: ${APT_PACKAGES[*]} (missing: ${missing})"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${APT_PACKAGES[@]}" >/dev/null
}

# What the package manager has, or what was there before, may be too old.
check_versions() {
    local python qgis
    python=$("$SYSTEM_PYTHON" -c 'import platform; print(platform.python_version())')
    at_least "Python ($SYSTEM_PYTHON)" "$python" 3.10 "use Debian 12, Ubuntu 22.04 or a newer system."
    qgis=$(qgis_env "$SYSTEM_PYTHON" -c 'from qgis.core import Qgis; print(Qgis.QGIS_VERSION.split("-")[0])')
    at_least QGIS "$qgis" 3.22 "install a newer one from https://qgis.org/download."
}

# make_venv FOLDER VENV_OPTIONS REQUIREMENTS... : made anew when a list of packages has changed.
make_venv() {
    local folder=$1 options=$2; shift 2
    local stamp="$folder/.requirements" wanted lists=() list
    # Options of ruff, mypy and pytest change no package.
    wanted=$( { cat "$@"; sed '/^\[tool\.\(pytest\|ruff\|mypy\)/,$d' pyproject.toml; } | sha256sum)
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && "$folder/bin/python" -c '' 2>/dev/null; then return 0; fi
    say "Making $folder ($(grep -ohE '^[a-z][a-z0-9_-]*' "$@" | sort -u | wc -l) packages; torch alone has several hundred MB) ..."
    # shellcheck disable=SC2086
    "$SYSTEM_PYTHON" -m venv --clear $options "$folder"
    for list in "$@"; do lists+=(-r "$list"); done
    # TORCH_INDEX may name a package index with CPU builds of torch, for machines without a GPU.
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
        ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "${lists[@]}"
    if [ "$folder" = .venv ]; then
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --editable .
    fi
    printf '%s' "$wanted" > "$stamp"
}

install_system_parts
check_versions
make_venv .venv "" core/client/worker-requirements.txt requirements-dev.txt
make_venv .venv-qgis --system-site-packages requirements-qgis.txt
say "Ready: .venv (engine, command 'multimodal') and .venv-qgis (QGIS tests)."
