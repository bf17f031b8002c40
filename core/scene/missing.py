"""The refusal of a scene that lacks what the model needs."""

from __future__ import annotations

from ..contract.errors import MissingChannelsError
from .sources import Found

_NAMES = {"s2": "Sentinel-2", "s1": "Sentinel-1"}


def check_complete(
    s2: Found, wanted_s2: tuple[str, ...], s1: Found, wanted_s1: tuple[str, ...], fill: bool
) -> tuple[str, ...]:
    """Return the channels to be filled with their training mean; usually none.

    Raises MissingChannelsError naming every missing channel, what was found, and a way out,
    unless the user asked to ``fill``; a sensor of which nothing at all was found is never filled.
    """
    missing = {"s2": _missing(s2, wanted_s2), "s1": _missing(s1, wanted_s1)}
    absent = [key for key, found in (("s2", s2), ("s1", s1)) if missing[key] and not found.parts]
    lacking = [*missing["s2"], *missing["s1"]]
    if not lacking or (fill and not absent):
        return tuple(lacking)
    parts = [
        _sentence(sensor, missing[sensor], found)
        for sensor, found in (("s2", s2), ("s1", s1))
        if missing[sensor]
    ]
    raise MissingChannelsError(
        " ".join(parts),
        missing=lacking,
        found=sorted({*s2.bands, *s2.other, *s1.bands, *s1.other}),
        decision=f"{absent[0] if absent else 's2' if missing['s2'] else 's1'}_bands",
    )


def _missing(found: Found, wanted: tuple[str, ...]) -> list[str]:
    """Return what any part lacks: a mosaic with a hole in one band is no scene."""
    parts = found.parts or (None,)
    return [
        name for name in wanted if any(part is None or name not in part.bands for part in parts)
    ]


def _sentence(sensor: str, missing: list[str], found: Found) -> str:
    name = _NAMES[sensor]
    if not found.is_given:
        return f"The model needs {name} {', '.join(missing)}, but no {name} raster was given."
    if len(found.parts) > 1 and all(any(n in p.bands for p in found.parts) for n in missing):
        return _apart(name, missing, found)
    present = sorted({*found.bands, *found.other})
    words = [f"The model needs {name} {', '.join(missing)}, not found."]
    words.append(f"Found: {', '.join(present)}." if present else "No band has a known name.")
    if found.unnamed and not _looks_swapped(found):
        words.append(f"Files with bands that nothing names: {_some(found.unnamed)}.")
    if found.unreadable:
        words.append(f"Files that cannot be opened: {_some(found.unreadable)}.")
    if len(found.parts) > 1:
        words.append(f"Of {len(found.parts)} parts of a mosaic {_holes(missing, found)} lack them.")
    words.append(_advice(sensor, missing, found))
    return " ".join(words)


def _apart(name: str, missing: list[str], found: Found) -> str:
    """Return what to say of rasters that have all bands, but not at one place."""
    lacking = (
        (part.files[0], [band for band in missing if band not in part.bands])
        for part in found.parts
    )
    holes = tuple(f"at '{file}' {', '.join(bands)}" for file, bands in lacking if bands)
    return (
        f"The {name} rasters lie at {len(found.parts)} places, and each needs all bands; missing "
        f"are: {_some(holes, '; ')}. Add the rasters of those bands there, leave the place away, "
        "or check the CRS and position of its files where all should lie at one place."
    )


def _advice(sensor: str, missing: list[str], found: Found) -> str:
    """Return the most likely way out."""
    other = _NAMES["s1" if sensor == "s2" else "s2"]
    if _looks_swapped(found):
        return f"This looks like {other} ({', '.join(found.foreign)}): are the two layers swapped?"
    if sensor == "s1" and {"HH", "HV"} & set(found.other):
        return (
            "HH and HV are the polarisations of polar and sea-ice acquisitions; the model was "
            "trained on VV and VH, to which they cannot be converted. Choose a scene with both."
        )
    if found.unreadable:
        return (
            "Copy or download what cannot be opened again, or take it away and add the files that "
            "hold the missing bands."
        )
    if found.unnamed:
        return (
            f"Say which band is which with a band map, for example {missing[0]}=1, or name the "
            "bands in the file (B02, B8A, VV...)."
        )
    return (
        "Add the files that hold them, say which band is which with a band map (channel=band), "
        "choose a model that does without them, or have them filled with their training mean "
        "(--fill-missing; in QGIS 'Fill missing channels'), which costs accuracy."
    )


def _holes(missing: list[str], found: Found) -> str:
    lacking = [p.files[0] for p in found.parts if any(name not in p.bands for name in missing)]
    return _some(tuple(f"'{name}'" for name in lacking))


def _looks_swapped(found: Found) -> bool:
    return bool(found.foreign) and not found.bands


def _some(names: tuple[str, ...], between: str = ", ") -> str:
    return between.join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
