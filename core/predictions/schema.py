"""Tables of the result GeoPackage, made with fudgeo."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from fudgeo import FeatureClass, Field, GeoPackage, MemoryGeoPackage, SpatialReferenceSystem
from fudgeo.enumeration import FieldType, ShapeType
from rasterio.crs import CRS

from ..contract.qml import result_style_qml
from ..contract.result import LAYER, RUN_TABLE, Corner, TileResult, result_fields
from ..contract.spec import ModelSpec
from .geometry import square_blob

GEOMETRY = "geom"
RUN_FIELDS = (
    ("fingerprint", FieldType.text), ("identity", FieldType.text), ("parameters", FieldType.text),
    ("spec", FieldType.text), ("state", FieldType.text), ("device", FieldType.text),
    ("precision", FieldType.text), ("versions", FieldType.text), ("warnings", FieldType.text),
    ("scene", FieldType.text),
    ("started", FieldType.text), ("finished", FieldType.text),
)  # fmt: skip
_KINDS = {"integer": FieldType.integer, "real": FieldType.double, "text": FieldType.text}
# Codes of coordinate systems that no authority knows start here, as GDAL's do.
_CUSTOM_SRS = 100_000
# A tile's row stands at its number: rows come back in the order of the grid, whatever the order
# in which they were finished, and no tile can be there twice. From here on stand rows of others.
_FIRST_FID, _OTHERS = 1, 1 << 40
# A column of SQLite holds anything that another program writes into it.
IS_TILE = f"(typeof(tile_id) = 'integer' AND tile_id BETWEEN 0 AND {_OTHERS})"
_IN_PLACE = f"({IS_TILE} AND fid = tile_id + {_FIRST_FID})"
# Older ones of GDAL make six, newer ones and fudgeo seven.
_INDEX_TRIGGERS = 6
_STYLES = """
CREATE TABLE layer_styles (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256),
    f_table_schema TEXT(256), f_table_name TEXT(256), f_geometry_column TEXT(256),
    styleName TEXT(30), styleQML TEXT, styleSLD TEXT, useAsDefault BOOLEAN,
    description TEXT, owner TEXT(30), ui TEXT(30),
    update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')))
"""


def create(spec: ModelSpec, crs_wkt: str) -> MemoryGeoPackage:
    """Make the empty file in memory, with spatial index and style: each commit leaves a layer."""
    package = MemoryGeoPackage.create(flavor="EPSG", ogr_contents=True)
    # Nothing newer than GeoPackage 1.2 is used; 1.4, fudgeo's word, makes older GDAL warn.
    package.connection.execute("PRAGMA user_version = 10200")
    fields = [Field(f.name, _KINDS[f.kind]) for f in result_fields(spec)]
    package.create_feature_class(
        LAYER, _reference_system(crs_wkt), ShapeType.polygon, fields=fields,
        description="Predictions by tile", geom_name=GEOMETRY, spatial_index=True,
    )  # fmt: skip
    package.create_table(RUN_TABLE, [Field(name, kind) for name, kind in RUN_FIELDS])
    store_style(package, result_style_qml(spec))
    with package.connection:
        stamp(package.connection)
    return package


def insert(package: GeoPackage, rows: Sequence[TileResult], spec: ModelSpec) -> None:
    """Insert rows and widen the layer's extent; the caller holds the transaction."""
    srs_id = _srs_id(package.connection)
    names = [field.name for field in result_fields(spec)]
    columns = ", ".join(["fid", GEOMETRY, *map(_quoted, names)])
    marks = ", ".join("?" * (len(names) + 2))
    package.connection.executemany(
        f"INSERT INTO {LAYER} ({columns}) VALUES ({marks})",
        [
            (row.tile_id + _FIRST_FID, square_blob(row.corners, srs_id), *row.values(spec))
            for row in rows
        ],
    )
    _widen(package.connection, [corner for row in rows for corner in row.corners])
    stamp(package.connection)


def delete(package: GeoPackage, tile_ids: Sequence[int]) -> None:
    """Delete the rows of tiles, and narrow the layer's extent; the caller holds the transaction."""
    package.connection.executemany(
        f"DELETE FROM {LAYER} WHERE fid = ?", [(tile_id + _FIRST_FID,) for tile_id in tile_ids]
    )
    _fit_extent(package)
    stamp(package.connection)


def _widen(connection: sqlite3.Connection, corners: Sequence[Corner]) -> None:
    if not corners:
        return
    x, y = [x for x, _ in corners], [y for _, y in corners]
    connection.execute(
        "UPDATE gpkg_contents SET min_x = min(ifnull(min_x, ?1), ?1), "
        "min_y = min(ifnull(min_y, ?2), ?2), max_x = max(ifnull(max_x, ?3), ?3), "
        "max_y = max(ifnull(max_y, ?4), ?4) WHERE table_name = ?5",
        (min(x), min(y), max(x), max(y), LAYER),
    )


def store_style(package: GeoPackage | MemoryGeoPackage, qml: str) -> None:
    """Store the default style, as QGIS looks for it in ``layer_styles``."""
    connection = package.connection
    exists = "SELECT 1 FROM sqlite_master WHERE name = 'layer_styles'"
    if connection.execute(exists).fetchone():
        return
    with connection:
        # sqlite3 opens no transaction by itself for CREATE: a death would leave an empty table.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_STYLES)
        connection.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier) "
            "VALUES ('layer_styles', 'attributes', 'layer_styles')"
        )
        connection.execute(
            "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, "
            "f_geometry_column, styleName, styleQML, styleSLD, useAsDefault, description, owner) "
            "VALUES ('', '', ?, ?, 'class', ?, '', 1, 'Class, opacity by confidence', '')",
            (LAYER, GEOMETRY, qml),
        )


def stamp(connection: sqlite3.Connection) -> None:
    """Say when the tables changed, in UTC; the caller holds the transaction.

    fudgeo writes local time and calls it UTC, and its default says the seconds twice.
    """
    connection.execute("UPDATE gpkg_contents SET last_change = strftime('%Y-%m-%dT%H:%M:%fZ')")


def start_again(package: GeoPackage, spec: ModelSpec) -> None:
    """Put right what other programs made of a file, before a run goes on in it."""
    layer = FeatureClass(package, LAYER)
    misplaced = _misplaced(package.connection)
    if misplaced or not _is_indexed(package.connection):
        layer.drop_spatial_index()
        if misplaced:
            _put_in_place(package.connection)
        layer.add_spatial_index()
        package.connection.commit()
    store_style(package, result_style_qml(spec))
    with package.connection:
        _fit_extent(package)


def _fit_extent(package: GeoPackage) -> None:
    is_empty = FeatureClass(package, LAYER).is_empty
    extent = (None,) * 4 if is_empty else _extent(package)
    package.connection.execute(
        "UPDATE gpkg_contents SET min_x = ?, min_y = ?, max_x = ?, max_y = ? "
        "WHERE table_name = ?", (*extent, LAYER),
    )  # fmt: skip


def _misplaced(connection: sqlite3.Connection) -> bool:
    query = f"SELECT 1 FROM {LAYER} WHERE fid < {_OTHERS} AND NOT {_IN_PLACE} LIMIT 1"
    return connection.execute(query).fetchone() is not None


def _put_in_place(connection: sqlite3.Connection) -> None:
    """Give each tile its row again; what a user drew, or copied, stands behind all tiles."""
    with connection:
        wrong = f"fid < {_OTHERS} AND NOT {_IN_PLACE}"
        connection.execute(f"UPDATE {LAYER} SET fid = fid + {_OTHERS} WHERE {wrong}")
        connection.execute(
            f"UPDATE OR IGNORE {LAYER} SET fid = tile_id + {_FIRST_FID} "
            f"WHERE fid >= {_OTHERS} AND {IS_TILE}"
        )


def _is_indexed(connection: sqlite3.Connection) -> bool:
    """Return whether the index knows as many rows as there are; another program may have lost it.

    A death while it was made again leaves it without rows.
    """
    index = f"rtree_{LAYER}_{GEOMETRY}"
    try:
        (counts,) = connection.execute(
            f"SELECT (SELECT count(*) FROM {index}) = (SELECT count(*) FROM {LAYER}), "
            f"(SELECT count(*) FROM sqlite_master WHERE name LIKE '{index}_%' "
            "AND type = 'trigger')"
        ).fetchall()
    except sqlite3.OperationalError:
        return False
    return bool(counts[0]) and counts[1] >= _INDEX_TRIGGERS


def _extent(package: GeoPackage) -> tuple[float, float, float, float]:
    return package.connection.execute(
        f"SELECT min(ST_MinX({GEOMETRY})), min(ST_MinY({GEOMETRY})), "
        f"max(ST_MaxX({GEOMETRY})), max(ST_MaxY({GEOMETRY})) FROM {LAYER}"
    ).fetchone()


def _srs_id(connection: sqlite3.Connection) -> int:
    query = "SELECT srs_id FROM gpkg_geometry_columns WHERE table_name = ?"
    (srs_id,) = connection.execute(query, (LAYER,)).fetchone()
    return int(srs_id)


def _reference_system(crs_wkt: str) -> SpatialReferenceSystem:
    crs = CRS.from_wkt(crs_wkt)
    wkt = crs.to_wkt()
    name = wkt.split('"')[1] if '"' in wkt else "unknown"
    authority = crs.to_authority()
    if authority and authority[1].isdigit():
        return SpatialReferenceSystem(name, authority[0], int(authority[1]), wkt)
    return SpatialReferenceSystem(name, "NONE", _CUSTOM_SRS, wkt)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
