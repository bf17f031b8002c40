"""Opening rasters and reading pixels: nodata becomes NaN, every failure a SourceError."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
import rasterio
from rasterio._err import CPLE_OutOfMemoryError
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from ..contract.errors import SourceError
from ..contract.source_identity import without_credentials, without_credentials_in_text
from .calibration import read_calibration
from .geometry import Geometry
from .product import Product
from .special import check_openable
from .stopping import go_on

FloatArray = np.ndarray[Any, np.dtype[np.float32]]
# GDAL keeps decoded blocks here, so that a row of tiles finds what the row above has decoded.
BLOCK_CACHE = 128 * 2**20
GDAL_OPTIONS = {
    "GDAL_CACHEMAX": BLOCK_CACHE,
    "GDAL_NUM_THREADS": "ALL_CPUS",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_TIMEOUT": "60",
    # Code in a virtual raster, and raw bytes of any file on this disk (GDAL knows it since 3.12).
    "GDAL_VRT_ENABLE_PYTHON": "NO",
    "GDAL_VRT_RAWRASTERBAND_ALLOWED_SOURCE": "SIBLING_OR_CHILD_OF_VRT_PATH",
}
# Looking at a scene reads hardly any block twice: what it would keep, the reading lacks later.
LOOKING_OPTIONS = {**GDAL_OPTIONS, "GDAL_CACHEMAX": 32 * 2**20}
# The special value of saturated pixels in Level-1C and Level-2A.
SATURATED = 65_535
# Whatever 16 bits with a sign cannot hold ends there, and tools fill with it.
_INT16_MOST = 32_767
# What products and tools write for "nothing" without declaring it.
S1_SENTINELS = (-9999.0, -32768.0)


_NO_MEMORY = re.compile(
    r"out of memory|(?:not enough|insufficient) memory|memory allocation|bad[ _]alloc"
    r"|(?:cannot|can't|could not|unable to|fail(?:ed)? to) allocate",
    re.I,
)
# Files within a virtual raster, with or without their folder, and those of GDAL's own source.
_A_FILE = re.compile(r"[/\\][^:,'\"]*|[^:,'\"]*\.\w{2,7}(?=[:,'\"]|$)")


@dataclass(frozen=True)
class Band:
    """One band of one file, found to be a channel of the model.

    ``found_by`` says how the channel was found, ``label`` is the text that told; ``calibration``
    is the xml with the calibration vectors of raw Sentinel-1, ``date`` the day of acquisition.
    """

    channel: str
    path: str
    index: int
    geometry: Geometry
    dtype: str
    nodata: float | None
    scale: float = 1.0
    offset: float = 0.0
    block: tuple[int, int] = (1, 1)  # rows, columns
    interleaved: int = 1  # bands of the file that are decoded together
    has_mask: bool = False
    has_overviews: bool = False
    is_wavelet: bool = False  # JPEG 2000: its overviews are made from its blocks, not stored
    found_by: str = ""
    label: str = ""
    calibration: str | None = None
    product: Product | None = None
    date: str | None = None

    @property
    def name(self) -> str:
        """The path as it may be shown."""
        return without_credentials(self.path)


def open_raster(path: str) -> Any:
    """Open a raster for reading; SourceError in plain words where GDAL cannot, or should not."""
    go_on()
    check_openable(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return rasterio.open(path)
    except (RasterioError, OSError, ValueError, TypeError) as problem:
        raise SourceError(
            f"'{without_credentials(path)}' cannot be opened as a raster: "
            f"{_reason(problem, path)}. Choose a GeoTIFF, JPEG 2000 or VRT file, or a folder or "
            "zip of a Sentinel scene.",
            path=without_credentials(path),
        ) from None  # the original text may hold a password


def read_bands(
    dataset: Any,
    bands: Sequence[Band],
    window: Window | None = None,
    shape: tuple[int, int] | None = None,
) -> FloatArray:
    """Return raw values of bands of one file as float32 (bands, rows, columns), nodata as NaN.

    Raw Sentinel-1 with its calibration vectors comes as linear sigma0. ``shape`` asks for a
    decimated read. A pixel that is exactly 0 in all of ``bands`` is left as 0: what that means
    is decided by :func:`blank_zeros`.
    """
    go_on()
    indexes = [band.index for band in bands]
    size = None if shape is None else (len(indexes), *shape)
    try:
        raw = dataset.read(indexes, window=window, out_shape=size)
        masks = [
            dataset.read_masks(band.index, window=window, out_shape=shape)
            if band.has_mask
            else None
            for band in bands
        ]
    except MemoryError:
        raise _too_large(bands[0].path) from None
    except (RasterioError, OSError) as problem:
        if is_want_of_memory(problem, bands[0].path):
            raise _too_large(bands[0].path) from None
        raise _damaged(bands[0].path, problem) from None
    values: FloatArray = raw.astype(np.float32)
    for layer, original, band, mask in zip(values, raw, bands, masks, strict=True):
        layer[_is_nodata(original, band)] = np.nan
        if mask is not None:
            layer[mask == 0] = np.nan
    values[~np.isfinite(values)] = np.nan
    for layer, band in zip(values, bands, strict=True):
        if band.calibration:
            layer[:] = _calibrated(layer, band, dataset, window)
    return values


def _calibrated(dn: FloatArray, band: Band, dataset: Any, window: Window | None) -> np.ndarray:
    """Return sigma0 of raw Sentinel-1; a decimated read takes the vectors at its pixels' places."""
    assert band.calibration is not None
    part = window or Window(0, 0, dataset.width, dataset.height)
    rows, cols = (
        start + (np.arange(count) + 0.5) * (length / count) - 0.5
        for start, length, count in (
            (part.row_off, part.height, dn.shape[0]), (part.col_off, part.width, dn.shape[1])
        )
    )  # fmt: skip
    return read_calibration(band.calibration).sigma0(dn, rows, cols)


def blank_zeros(values: FloatArray) -> None:
    """Turn pixels that are 0 (or nodata) in every band into NaN, in place: the swath's outside."""
    empty = np.all((values == 0) | np.isnan(values), axis=0)
    values[:, empty] = np.nan


def blank_sentinels(values: FloatArray) -> None:
    """Turn undeclared fill values of Sentinel-1 tools into NaN, in place."""
    values[np.isin(values, S1_SENTINELS)] = np.nan


def blank_saturated(values: FloatArray, bands: Sequence[Band]) -> None:
    """Turn saturated Sentinel-2 pixels into NaN, in place: they measure nothing."""
    for layer, band in zip(values, bands, strict=True):
        layer[layer >= (_INT16_MOST if band.dtype == "int16" else SATURATED)] = np.nan


def has_mask(dataset: Any, index: int) -> bool:
    """Return whether a mask band or an alpha band says where the band is valid."""
    flags = dataset.mask_flag_enums[index - 1]
    return MaskFlags.per_dataset in flags or MaskFlags.alpha in flags


def _is_nodata(original: np.ndarray, band: Band) -> np.ndarray:
    if band.nodata is None or np.isnan(band.nodata):
        return np.zeros(original.shape, dtype=bool)
    # A float32 band's nodata is stored as a double: -3.4e38 is not equal to its own float32.
    nodata = band.nodata
    if original.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return original == np.asarray(nodata).astype(original.dtype)
    return original == nodata


def is_want_of_memory(problem: BaseException, path: str) -> bool:
    """Return whether GDAL failed for want of memory; the names of files are not its words."""
    inner: BaseException | None = problem
    while inner is not None:
        words = str(inner).replace(path, "").replace(PurePath(path).name, "")
        if isinstance(inner, CPLE_OutOfMemoryError) or _NO_MEMORY.search(_A_FILE.sub("", words)):
            return True
        inner = inner.__cause__
    return False


def _damaged(path: str, problem: BaseException) -> SourceError:
    shown = without_credentials(path)
    return SourceError(
        f"'{shown}' is damaged or incomplete: some of its pixels cannot be read "
        f"({_reason(problem, path)}). Copy or download the file again.",
        path=shown,
    )


def _too_large(path: str) -> SourceError:
    shown = without_credentials(path)
    return SourceError(
        f"There is not enough memory to read '{shown}'. Close other programs; if that does not "
        "help, store the file in tiles (gdal_translate -co TILED=YES).",
        path=shown,
    )


def _reason(problem: BaseException, path: str) -> str:
    """Return GDAL's own words, the innermost first, without what may be secret."""
    while problem.__cause__ is not None:
        problem = problem.__cause__
    text = str(problem).replace(path, without_credentials(path))
    # The scratch file of GDAL's decompression threads means nothing to a reader.
    text = re.sub(r"/vsimem/\S*?:", "", without_credentials_in_text(text))
    return re.sub(r"\s+", " ", text).strip(" .") or "no reason given"
