"""Fabricates a full Sentinel-2 tile (10,980 px) and its Sentinel-1 raster for measurements.

``full_tile.py FOLDER`` writes S2.tif (12 bands), a .SAFE folder of JPEG 2000 bands at their own
resolution, and S1.tif (dB). The pixels are those of a real scene of sample_data, mirrored over
the tile, with noise, so that they compress and decode as those of a real product do.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import Affine
from rasterio.windows import Window

from multimodal.contract.channels import S2_BANDS

SCENE = Path(__file__).resolve().parents[1] / "sample_data" / "scenes" / "33UUP_37-38_87-90"
SIZE, STRIP, BLOCK = 10980, 1020, 512
RESOLUTION_M = dict.fromkeys(S2_BANDS, 20) | {"B01": 60, "B09": 60}
RESOLUTION_M |= dict.fromkeys(("B02", "B03", "B04", "B08"), 10)
OFFSET_DN = 1000
PRODUCT = "S2A_MSIL2A_20220613T101031_N0400_R022_T33UUP_20220613T164043"
METADATA = f"""<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-2A_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd">
 <n1:General_Info><Product_Info>
  <PRODUCT_START_TIME>2022-06-13T10:10:31.024Z</PRODUCT_START_TIME>
  <PROCESSING_LEVEL>Level-2A</PROCESSING_LEVEL><PROCESSING_BASELINE>04.00</PROCESSING_BASELINE>
 </Product_Info><Product_Image_Characteristics>
  <QUANTIFICATION_VALUES_LIST><BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>
  </QUANTIFICATION_VALUES_LIST><BOA_ADD_OFFSET_VALUES_LIST>
  {"".join(f'<BOA_ADD_OFFSET band_id="{i}">-{OFFSET_DN}</BOA_ADD_OFFSET>' for i in range(13))}
 </BOA_ADD_OFFSET_VALUES_LIST></Product_Image_Characteristics></n1:General_Info>
</n1:Level-2A_User_Product>
"""


def mirrored(pixels: np.ndarray, row: int, height: int, width: int) -> np.ndarray:
    """Return (bands, height, width) of the plane that mirror images of the pixels cover."""
    places = []
    for start, length, size in ((row, height, pixels.shape[1]), (0, width, pixels.shape[2])):
        place = np.arange(start, start + length) % (2 * size)
        places.append(np.where(place < size, place, 2 * size - 1 - place))
    return pixels[:, places[0]][:, :, places[1]]


def strips(pixels: np.ndarray, size: int, noise: float) -> Iterator[tuple[Window, np.ndarray]]:
    """Yield the strips of a square raster from its top, the noise in the unit of the pixels."""
    random = np.random.default_rng(20)
    for row in range(0, size, STRIP):
        height = min(STRIP, size - row)
        strip = mirrored(pixels, row, height, size)
        grain = random.standard_normal(strip.shape, dtype=np.float32) * noise
        yield Window(0, row, size, height), (strip + grain).astype(pixels.dtype)


def write(path: Path, names: tuple[str, ...], pixels: np.ndarray, noise: float, **profile) -> None:
    """Write a deflated GeoTIFF of SIZE px in strips."""
    kind = {"driver": "GTiff", "height": SIZE, "width": SIZE, "count": len(names), "tiled": True}
    kind |= {"blockxsize": BLOCK, "blockysize": BLOCK, "compress": "deflate", "zlevel": 1}
    place = {"crs": "EPSG:32633", "transform": Affine(10, 0, 300000, 0, -10, 5400000)}
    with rasterio.open(
        path, "w", **kind, **place, dtype=pixels.dtype, NUM_THREADS=2, **profile
    ) as out:
        for window, strip in strips(pixels, SIZE, noise):
            out.write(strip, window=window)
        for index, name in enumerate(names, 1):
            out.set_band_description(index, name)


def write_jp2(path: Path, pixels: np.ndarray, metres: int, noise: float) -> None:
    """Write one lossless band in code blocks of 1,024 px, as ESA's products are tiled."""
    size = SIZE * 10 // metres
    band = np.concatenate([strip[0] for _, strip in strips(pixels, size, noise)])
    transform = Affine(metres, 0, 300000, 0, -metres, 5400000)
    kind = {"driver": "JP2OpenJPEG", "height": size, "width": size, "count": 1, "dtype": band.dtype}
    lossless = {"QUALITY": "100", "REVERSIBLE": "YES", "BLOCKXSIZE": 1024, "BLOCKYSIZE": 1024}
    with rasterio.open(path, "w", crs="EPSG:32633", transform=transform, **kind, **lossless) as out:
        out.write(band, 1)


def write_safe(folder: Path, pixels: np.ndarray) -> None:
    """Write a .SAFE folder: product metadata, the 12 bands, the scene classes (all vegetation)."""
    images = folder / "GRANULE" / "L2A_T33UUP_A036430_20220613T101559" / "IMG_DATA"
    for metres in (10, 20, 60):
        (images / f"R{metres}m").mkdir(parents=True)
    (folder / "MTD_MSIL2A.xml").write_text(METADATA)
    for index, name in enumerate(S2_BANDS):
        metres = RESOLUTION_M[name]
        own = pixels[index : index + 1, :: metres // 10, :: metres // 10]
        path = images / f"R{metres}m" / f"T33UUP_20220613T101031_{name}_{metres}m.jp2"
        write_jp2(path, own + OFFSET_DN, metres, 8)
    classes = np.full((1, 240, 240), 4, "uint8")
    write_jp2(images / "R20m" / "T33UUP_20220613T101031_SCL_20m.jp2", classes, 20, 0)


def main() -> None:
    """Fabricate what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with (
        rasterio.open(f"{SCENE}_S2_12band_10m.tif") as s2,
        rasterio.open(f"{SCENE}_S1_VV_VH_dB.tif") as s1,
    ):
        optical, radar = s2.read(), s1.read()
    rows = (optical > 0).all(axis=(0, 2)) & np.isfinite(radar).all(axis=(0, 2))
    optical, radar = optical[:, rows], radar[:, rows]
    write(folder / "S2.tif", S2_BANDS, optical, 8, nodata=0, interleave="pixel")
    write(folder / "S1.tif", ("VV", "VH"), radar, 0.3, nodata=np.nan)
    write_safe(folder / f"{PRODUCT}.SAFE", optical)


if __name__ == "__main__":
    main()
