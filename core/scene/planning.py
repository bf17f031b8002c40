"""From an understood scene to what a reading thread does."""

from __future__ import annotations

from collections.abc import Sequence

from ..contract.channels import INDEX_BANDS
from ..contract.spec import ChannelSpec
from .layers import PartPlan
from .optical import S2Verdict
from .radar import S1Verdict
from .reader import ReadPlan
from .understood import Judged, Understood
from .warp import stacks


def read_plan(scene: Understood) -> ReadPlan:
    """Return the stacks of every part, with the resampling that the model's spec asks for."""
    mask = scene.mask
    return ReadPlan(
        scene.grid,
        scene.spec,
        tuple(_part(judged, "s2", scene.spec.s2) for judged in scene.optical),
        tuple(_part(judged, "s1", scene.spec.s1) for judged in scene.radar),
        mask,
        tuple(stacks([(band, "nearest") for band in mask.bands], "mask")) if mask else (),
        scene.options.max_cloud,
    )


def _part(judged: Judged, sensor: str, channels: Sequence[ChannelSpec]) -> PartPlan:
    verdict = judged.verdict
    bands = [(band, _resampling(name, channels)) for name, band in judged.part.bands.items()]
    return PartPlan(
        tuple(
            stacks(
                bands,
                sensor,
                verdict if isinstance(verdict, S1Verdict) else None,
                verdict.floor,
                verdict.ceiling,
            )
        ),
        verdict if isinstance(verdict, S2Verdict) else None,
        verdict.is_judged,
    )


def _resampling(band: str, channels: Sequence[ChannelSpec]) -> str:
    """Return the resampling of a band: its own channel's, else that of an index made from it."""
    own = {channel.name: channel.resampling for channel in channels}
    users = (own[name] for name, parts in INDEX_BANDS.items() if name in own and band in parts)
    return own[band] if band in own else next(users)
