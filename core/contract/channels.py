"""Channels: the bands and indices that a model is fed with, their names and statistics."""

from __future__ import annotations

import re
from types import MappingProxyType

S2_BANDS = (
    "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12",
)  # fmt: skip
S1_BANDS = ("VH", "VV")
MASKS = ("SCL", "QA60", "CLOUD")
"""Kinds of cloud mask: L2A scene classes, bits 10 and 11 of L1C in Earth Engine, any other."""

CLOUD_MASK = MASKS[-1]
"""What the user's word for the band of a mask stands for, whose kind nothing tells."""

RGB = ("B04", "B03", "B02")

INDEX_BANDS = MappingProxyType({"NDVI": ("B08", "B04"), "NDWI": ("B03", "B08")})
"""Normalised differences (first - second) / (first + second); NDWI after McFeeters (1996)."""

S2_PRESETS = MappingProxyType(
    {
        "s2-14": (*RGB, "B01", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12",
                  "NDVI", "NDWI"),
        "s2-12": (*RGB, "B01", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"),
        "s2-10": (*RGB, "B05", "B06", "B07", "B08", "B8A", "B11", "B12"),
    }
)  # fmt: skip
DEFAULT_S2_PRESET = "s2-14"

STATISTICS = MappingProxyType(
    {
        "B01": (361.0767822265625, 575.0687255859375),
        "B02": (438.3720703125, 607.02685546875),
        "B03": (614.0556640625, 603.2968139648438),
        "B04": (588.4096069335938, 684.56884765625),
        "B05": (942.8433227539062, 738.4326782226562),
        "B06": (1769.931640625, 1100.4560546875),
        "B07": (2049.551513671875, 1275.805419921875),
        "B08": (2193.2919921875, 1369.3717041015625),
        "B8A": (2235.556640625, 1356.5440673828125),
        "B09": (2241.455322265625, 1316.393310546875),
        "B11": (1568.226806640625, 1070.1612548828125),
        "B12": (997.7324829101562, 813.5276489257812),
        "NDVI": (0.0, 0.5),
        "NDWI": (0.0, 0.5),
        "VH": (-19.352558135986328, 5.590505599975586),
        "VV": (-12.643863677978516, 5.133493900299072),
    }
)
"""(mean, std) over the BigEarthNet v2 train split, ``120_nearest``; S2 in DN, S1 in dB.

Source: Clasen et al. 2024 (reBEN), as published with ConfigILM. The indices are fixed by us.
"""

CENTRAL_WAVELENGTHS = MappingProxyType(
    {
        "B01": 443.0, "B02": 492.0, "B03": 560.0, "B04": 665.0, "B05": 704.0, "B06": 740.0,
        "B07": 783.0, "B08": 833.0, "B8A": 865.0, "B09": 945.0, "B10": 1374.0, "B11": 1612.0,
        "B12": 2196.0,
    }
)  # fmt: skip
"""Nanometres, the mean of Sentinel-2A and 2B. Source: ESA, Sentinel-2 MSI spectral responses."""

# As Element84, the STAC extension eo, Sentinel Hub and others write them, letters and digits only.
_COLOUR_NAMES = MappingProxyType(
    {
        "coastal": "B01", "coastalaerosol": "B01", "aerosol": "B01",
        "blue": "B02", "green": "B03", "red": "B04",
        "rededge1": "B05", "rededge2": "B06", "rededge3": "B07",
        "rededge071": "B05", "rededge075": "B06", "rededge078": "B07",
        "vegetationrededge1": "B05", "vegetationrededge2": "B06", "vegetationrededge3": "B07",
        "nir": "B08", "nir1": "B08", "nearinfrared": "B08", "broadnir": "B08",
        "nir08": "B8A", "narrownir": "B8A", "nirnarrow": "B8A", "rededge4": "B8A",
        "watervapour": "B09", "watervapor": "B09", "nir09": "B09", "cirrus": "B10",
        "swir1": "B11", "swir16": "B11", "swir2": "B12", "swir22": "B12",
    }
)  # fmt: skip
_S2_TOKEN = re.compile(r"(?<![A-Z0-9])B(?:AND)?[ _.-]*0*(8A|1[0-2]|[1-9])(?![0-9A-Z])", re.I)
_S1_TOKEN = re.compile(r"(?<![A-Z])(VV|VH|HH|HV)(?![A-Z])", re.I)
_WAVELENGTH = re.compile(
    r"(?:wave ?length|wvl)\D{0,12}(\d+(?:\.\d+)?) ?(nm|nano|um|µm|μm|micro)", re.I
)
# Nanometres by which a stated wavelength may differ: 842 is said of B08, 2190 of B12.
_NEAR, _NEAR_SWIR, _SWIR = 12.0, 40.0, 1000.0
_MASK_NAMES = (
    ("SCL", re.compile(r"(?<![a-z])scl(?![a-z])|scene ?class", re.I)),
    ("QA60", re.compile(r"(?<![a-z])qa ?60(?!\d)", re.I)),
    ("CLOUD", re.compile(r"(?<![a-z])(cloud ?s?(en|less)? ?mask|fmask|s2cloudless)", re.I)),
)


def base_bands(channels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the bands that must be read to make ``channels``, each once, in first-use order."""
    bands: dict[str, None] = {}
    for channel in channels:
        for band in INDEX_BANDS.get(channel, (channel,)):
            bands[band] = None
    return tuple(bands)


def s2_band_from_text(text: str) -> str | None:
    """Return the Sentinel-2 band that a band name or file name speaks of, or None.

    ``B04``, ``B4``, ``band 4``, ``T33UUP_B04_10m``, ``Red`` give ``B04``. A text that names
    two different bands gives None: it is ambiguous, and ambiguity is never guessed away.
    """
    found = {_canonical(match.group(1)) for match in _S2_TOKEN.finditer(text.replace("_", " "))}
    if len(found) == 1:
        return found.pop()
    if found:
        return None
    stated = _WAVELENGTH.search(text)
    if stated:
        factor = 1.0 if stated.group(2).lower().startswith("n") else 1000.0
        return band_from_wavelength(float(stated.group(1)) * factor)
    return _COLOUR_NAMES.get(re.sub(r"[^a-z0-9]", "", text.lower()))


def band_from_wavelength(nanometres: float) -> str | None:
    """Return the Sentinel-2 band whose centre is near, or None."""
    name, centre = min(CENTRAL_WAVELENGTHS.items(), key=lambda item: abs(item[1] - nanometres))
    near = _NEAR if centre < _SWIR else _NEAR_SWIR
    return name if abs(centre - nanometres) <= near else None


def mask_from_text(text: str) -> str | None:
    """Return the kind of cloud mask (one of :data:`MASKS`) that a name speaks of, or None."""
    words = text.replace("_", " ").replace("-", " ")
    return next((kind for kind, pattern in _MASK_NAMES if pattern.search(words)), None)


def s1_band_from_text(text: str) -> str | None:
    """Return ``VV``, ``VH``, ``HH`` or ``HV`` when the text names exactly one of them."""
    found = {match.group(1).upper() for match in _S1_TOKEN.finditer(text)}
    return found.pop() if len(found) == 1 else None


def _canonical(number: str) -> str:
    number = number.upper()
    return "B8A" if number == "8A" else f"B{int(number):02d}"
