"""Bands that measure nothing of their own: one value everywhere, or a copy of another band."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np

from .radiometry import SceneWarning

# So many equal values are no chance.
_ENOUGH = 100


def copies(samples: Mapping[str, np.ndarray], sensor: str) -> Iterator[SceneWarning]:
    """Yield what is wrong with bands by a sample of their valid values.

    Args:
        sensor: as a person calls it, ``Sentinel-2``.
    """
    code = sensor.lower().replace("entinel-", "")
    samples = {name: values for name, values in samples.items() if values.size >= _ENOUGH}
    constant = [name for name, values in samples.items() if values.min() == values.max()]
    if constant:
        message = _CONSTANT.format(", ".join(constant), sensor)
        yield SceneWarning(f"{code}_constant", message)
    others = {name: values for name, values in samples.items() if name not in constant}
    same = [
        f"{one} and {other}"
        for one, other in combinations(others, 2)
        if _are_equal(others[one], others[other])
    ]
    if same:
        yield SceneWarning(f"{code}_copied", _COPIED.format(", ".join(same), sensor))


def _are_equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Compare samples; those of bands that were looked at in other places differ anyhow."""
    # The first ones tell nearly always, and save comparing millions.
    return np.array_equal(one[:_ENOUGH], other[:_ENOUGH]) and np.array_equal(one, other)


_CONSTANT = (
    "{} of {} has the same value everywhere it was looked at: that is no measurement. Check how "
    "the raster was made."
)
_COPIED = (
    "{} of {} hold the same values: one was copied into the place of the other. Check how the "
    "raster was made."
)
