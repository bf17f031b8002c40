"""Tables of the result GeoPackage, made with fudgeo."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from fudgeo import FeatureClass, Field, GeoPackage, MemoryGeoPackage, SpatialReferenceSystem
from fudgeo.enumeration import FieldType, ShapeType
from fudgeo.geometry import Polygon
from rasterio.crs import CRS

from ..contract.result import LAYER, RUN_TABLE, TileResult, result_fields
from ..contract.spec import ModelSpec

GEOMETRY = "geom"
RUN_FIELDS = (
    ("fingerprint", FieldType.text), ("identity", FieldType.text), ("parameters", FieldType.text),
    ("spec", FieldType.text), ("state", FieldType.text), ("device", FieldType.text),
    ("precision", FieldType.text), ("versions", FieldType.text), ("warnings", FieldType.text),
    ("started", FieldType.text), ("finished", FieldType.text),
)  # fmt: skip
_KINDS = {"integer": FieldType.integer, "real": FieldType.double, "text": FieldType.text}
# Codes of coordinate systems that no authority knows start here, as GDAL's do.
_CUSTOM_SRS = 100_000
_STYLES = """
CREATE TABLE layer_styles (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256),
    f_table_schema TEXT(256), f_table_name TEXT(256), f_geometry_column TEXT(256),
    styleName TEXT(30), styleQML TEXT, styleSLD TEXT, useAsDefault BOOLEAN,
    description TEXT, owner TEXT(30), ui TEXT(30),
    update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')))
"""


def create(spec: ModelSpec, crs_wkt: str) -> MemoryGeoPackage:
    """Make the empty tables in memory; the spatial index follows in :func:`finish`."""
    package = MemoryGeoPackage.create(flavor="EPSG", ogr_contents=True)
    # Nothing newer than GeoPackage 1.2 is used; 1.4, fudgeo's word, makes older GDAL warn.
    package.connection.execute("PRAGMA user_version = 10200")
    fields = [Field(f.name, _KINDS[f.kind]) for f in result_fields(spec)]
    package.create_feature_class(
        LAYER, _reference_system(crs_wkt), ShapeType.polygon, fields=fields,
        description="Predictions by tile", geom_name=GEOMETRY, spatial_index=False,
    )  # fmt: skip
    package.create_table(RUN_TABLE, [Field(name, kind) for name, kind in RUN_FIELDS])
    with package.connection:
        stamp(package.connection)
    return package


def insert(package: GeoPackage, rows: Sequence[TileResult], spec: ModelSpec) -> None:
    """Insert rows; the caller holds the transaction."""
    layer = FeatureClass(package, LAYER)
    srs_id = layer.spatial_reference_system.srs_id
    names = [field.name for field in result_fields(spec)]
    columns = ", ".join([GEOMETRY, *map(_quoted, names)])
    marks = ", ".join("?" * (len(names) + 1))
    package.connection.executemany(
        f"INSERT INTO {LAYER} ({columns}) VALUES ({marks})",
        [(_polygon(row, srs_id), *row.attributes(spec).values()) for row in rows],
    )


def store_style(package: GeoPackage, qml: str) -> None:
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


def finish(package: GeoPackage) -> None:
    """Build the spatial index with its triggers, and write the extent and the row count."""
    layer = FeatureClass(package, LAYER)
    layer.drop_spatial_index()
    layer.add_spatial_index()
    if not layer.is_empty:
        # The getter computes the extent of the rows where none is stored.
        layer.extent = _extent(package)
    package.connection.commit()


def stamp(connection: sqlite3.Connection) -> None:
    """Say when the tables changed, in UTC; the caller holds the transaction.

    fudgeo writes local time and calls it UTC, and its default says the seconds twice.
    """
    connection.execute("UPDATE gpkg_contents SET last_change = strftime('%Y-%m-%dT%H:%M:%fZ')")


def start_again(package: GeoPackage) -> None:
    """Drop the spatial index, so that rows can be added without its triggers."""
    FeatureClass(package, LAYER).drop_spatial_index()


def _extent(package: GeoPackage) -> tuple[float, float, float, float]:
    return package.connection.execute(
        f"SELECT min(ST_MinX({GEOMETRY})), min(ST_MinY({GEOMETRY})), "
        f"max(ST_MaxX({GEOMETRY})), max(ST_MaxY({GEOMETRY})) FROM {LAYER}"
    ).fetchone()


def _polygon(row: TileResult, srs_id: int) -> Any:
    ring: Iterable[tuple[float, float]] = [*row.corners, row.corners[0]]
    return Polygon([list(ring)], srs_id=srs_id)


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
