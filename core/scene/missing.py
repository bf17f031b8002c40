"""The refusal of a scene that lacks what the model needs."""

from __future__ import annotations

from ..contract.errors import MissingChannelsError
from .sources import Found

_NAMES = {"s2": "Sentinel-2", "s1": "Sentinel-1"}


def check_complete(
    s2: Found, wanted_s2: tuple[str, ...], s1: Found, wanted_s1: tuple[str, ...]
) -> None:
    """Raise MissingChannelsError naming every missing channel, what was found, and a way out."""
    missing = {
        "s2": [name for name in wanted_s2 if name not in s2.bands],
        "s1": [name for name in wanted_s1 if name not in s1.bands],
    }
    if not any(missing.values()):
        return
    parts = [
        _sentence(sensor, missing[sensor], found)
        for sensor, found in (("s2", s2), ("s1", s1))
        if missing[sensor]
    ]
    raise MissingChannelsError(
        " ".join(parts),
        missing=[*missing["s2"], *missing["s1"]],
        found=sorted([*s2.bands, *s2.other, *s1.bands, *s1.other]),
    )


def _sentence(sensor: str, missing: list[str], found: Found) -> str:
    name = _NAMES[sensor]
    present = sorted([*found.bands, *found.other])
    words = [f"The model needs {name} {', '.join(missing)}, not found."]
    words.append(f"Found: {', '.join(present)}." if present else "No band has a known name.")
    if found.unnamed and not _looks_swapped(found):
        words.append(f"Files with bands that nothing names: {_some(found.unnamed)}.")
    if found.unreadable:
        words.append(f"Files that cannot be opened: {_some(found.unreadable)}.")
    words.append(_advice(sensor, missing, found))
    return " ".join(words)


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
    if found.unnamed:
        return (
            f"Say which band is which with a band map, for example {missing[0]}=1, or name the "
            "bands in the file (B02, B8A, VV...)."
        )
    return (
        "Add the files that hold them, say which band is which with a band map (channel=band), "
        "or choose a model that does without them."
    )


def _looks_swapped(found: Found) -> bool:
    return bool(found.foreign) and not found.bands


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
