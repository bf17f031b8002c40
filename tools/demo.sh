#!/usr/bin/env bash
# Classifies the held-out sample scene through the real qgis_process and draws the map.
set -euo pipefail
source "$(dirname "$0")/env.sh"
cd "$ROOT"

DEMO="$ROOT/build/demo"
SCENE="$ROOT/sample_data/scenes/33UUP_37-38_87-90"
PROFILE="$DEMO/profile"
LOG="$DEMO/qgis_process.log"

rm -rf "$DEMO" && mkdir -p "$PROFILE/profiles/default/python/plugins"
/usr/bin/python3 tools/build_plugin.py copy >/dev/null
cp -r build/plugin/mm_qgis_plugin "$PROFILE/profiles/default/python/plugins/"

export QGIS_CUSTOM_CONFIG_PATH="$PROFILE" MULTIMODAL_WORKER_PYTHON="$ROOT/.venv/bin/python"
say "Plugin installed into a throw-away QGIS profile: $PROFILE"
qgis_process_run plugins enable mm_qgis_plugin >"$LOG" 2>&1 || true
qgis_process_run plugins 2>/dev/null | grep '^\*.*mm_qgis_plugin' >/dev/null || { cat "$LOG"; fail "QGIS did not load the plugin."; }

say "Running multimodal:classify by $(find_qgis_process) ..."
qgis_process_run run multimodal:classify \
    "--S2=${SCENE}_S2_12band_10m.tif" "--S1=${SCENE}_S1_VV_VH_dB.tif" \
    "--MODEL=$ROOT/sample_data/model" "--JOURNAL=$DEMO/journal.gpkg" \
    "--OUTPUT=$DEMO/predictions.gpkg" >>"$LOG" 2>&1 || { cat "$LOG"; fail "qgis_process failed; its log is above."; }

qgis_env QT_QPA_PLATFORM=offscreen XDG_RUNTIME_DIR="$(runtime_dir)" PYTHONPATH="$ROOT/build/plugin" \
    /usr/bin/python3 tools/draw_map.py --s2 "${SCENE}_S2_12band_10m.tif" \
    --predictions "$DEMO/predictions.gpkg" --model "$ROOT/sample_data/model" --output "$DEMO/map.png"

/usr/bin/python3 - "$DEMO/journal.gpkg" <<'PY'
import json, sqlite3, sys

with sqlite3.connect(sys.argv[1]) as connection:
    connection.row_factory = sqlite3.Row
    run = dict(connection.execute("SELECT * FROM mm_run").fetchone())
    counts = dict(connection.execute("SELECT status = 'ok', count(*) FROM tiles GROUP BY 1"))
print(f"State:         {run['state']}")
print(f"Tiles:         {counts.get(1, 0)} classified, {counts.get(0, 0)} skipped")
print(f"Device:        {run['device']} ({run['precision']})")
PY
grep -E 'tiles/s' "$LOG" | tail -n 1 | sed 's/^ *//' || true
say "Predictions:   $DEMO/predictions.gpkg"
say "Map:           $DEMO/map.png"
