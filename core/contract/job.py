"""ClassifyJob: one frozen order, made on the main thread of QGIS or by the command line."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ._codec import as_object, take
from .band_map import MAPPED
from .errors import JobError, MissingChannelsError
from .model_folder import config_digest, read_spec
from .scene_options import SceneOptions, options_from_dict
from .source_identity import source_identity, without_credentials
from .spec import ModelSpec
from .version import version

PRECISIONS = ("auto", "exact")
MAX_BATCH = 1024
MAX_STRIDE = 100_000
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")
_NUMBER = (int, float)


@dataclass(frozen=True)
class RasterSource:
    """One raster as GDAL opens it.

    ``crs_wkt`` stands where QGIS overrides the file's own CRS; ``bands`` maps a channel name
    to a band number from 1 where the user said so, and wins over every name in the file.
    """

    path: str
    crs_wkt: str | None = None
    bands: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.path:
            raise JobError("A raster source has no path: choose a raster layer or file.")
        unknown = sorted(set(self.bands) - set(MAPPED))
        if unknown:
            raise JobError(
                f"The band map names unknown channels: {', '.join(unknown)}. "
                f"Known are {', '.join(MAPPED)}."
            )
        if any(not isinstance(n, int) or n < 1 for n in self.bands.values()):
            raise JobError("The band map counts bands from 1, in whole numbers.")


@dataclass(frozen=True)
class ClassifyJob:
    """Classify the tiles of a Sentinel-2 / Sentinel-1 pair into a GeoPackage.

    ``extent_wkt`` and ``aoi_wkt`` are polygons in the CRS of the first S2 source, or EWKT
    (``SRID=4326;POLYGON ...``) in a CRS of their own; a tile runs when its centre lies inside
    both. ``stride`` is in pixels, None means the tile size; ``batch_size`` 0 means automatic;
    ``min_valid`` is the fraction of valid pixels under which a tile is skipped. ``mask`` is a
    raster of cloud classes; without it one that lies beside Sentinel-2 is used.
    """

    s2: tuple[RasterSource, ...]
    s1: tuple[RasterSource, ...]
    model: str
    output: str
    extent_wkt: str | None = None
    aoi_wkt: str | None = None
    stride: int | None = None
    device: str = "auto"
    precision: str = "auto"
    batch_size: int = 0
    min_valid: float = 0.75
    overwrite: bool = False
    mask: RasterSource | None = None
    options: SceneOptions = field(default_factory=SceneOptions)

    def __post_init__(self) -> None:
        if not self.s2:
            raise JobError("No Sentinel-2 raster was given: choose at least one.")
        if not self.model:
            raise JobError("No model folder was given: choose one.")
        if not self.output:
            raise JobError("No output file was given: choose a .gpkg file.")
        if self.stride is not None and not 1 <= self.stride <= MAX_STRIDE:
            raise JobError(f"The stride must be 1 to {MAX_STRIDE} pixels, not {self.stride}.")
        check_computing(self.device, self.precision, self.batch_size)
        if not 0.0 <= self.min_valid <= 1.0:
            raise JobError("The valid share of a tile must lie between 0 and 1.")

    @property
    def sources(self) -> tuple[RasterSource, ...]:
        """Every raster that is read."""
        return (*self.s2, *self.s1, *((self.mask,) if self.mask else ()))

    def to_dict(self) -> dict[str, Any]:
        """Return the job as it travels."""
        return asdict(self)


def job_from_dict(payload: Any) -> ClassifyJob:
    """Read what :meth:`ClassifyJob.to_dict` wrote."""
    data = as_object(payload, JobError, "The job")
    kinds: dict[str, Any] = {
        "model": str, "output": str, "extent_wkt": (str, type(None)),
        "aoi_wkt": (str, type(None)), "stride": (int, type(None)), "device": str,
        "precision": str, "batch_size": int, "min_valid": _NUMBER, "overwrite": bool,
    }  # fmt: skip
    values = {key: take(data, key, kind, JobError, "job") for key, kind in kinds.items()}
    mask = take(data, "mask", (dict, type(None)), JobError, "job")
    return ClassifyJob(
        s2=_sources(data, "s2"),
        s1=_sources(data, "s1"),
        mask=None if mask is None else _source(mask, "mask"),
        options=options_from_dict(take(data, "options", dict, JobError, "job")),
        **values,
    )


def check_computing(device: str, precision: str, batch_size: int) -> None:
    """Raise a JobError for a device, precision or batch size that cannot be."""
    if not _DEVICE.fullmatch(device):
        raise JobError(f"Device '{device}' is unknown: use auto, cpu, cuda, cuda:N or mps.")
    if precision not in PRECISIONS:
        raise JobError(f"Precision must be one of {', '.join(PRECISIONS)}.")
    if not 0 <= batch_size <= MAX_BATCH:
        raise JobError(f"The batch size must be 0 (automatic) to {MAX_BATCH} tiles.")


def check_sensors(s1: Sequence[RasterSource], spec: ModelSpec) -> None:
    """Raise a MissingChannelsError where a model needs Sentinel-1 and none was given."""
    if spec.s1 and not s1:
        raise MissingChannelsError(
            f"No Sentinel-1 raster was given, and the model needs {', '.join(spec.s1_names)} of "
            "it: choose one (--s1 on the command line).",
            missing=list(spec.s1_names),
        )


def fingerprint(job: ClassifyJob) -> dict[str, Any]:
    """Return what decides a result: sources with size and time, model, parameters, version.

    Output, device, precision and batch size are left out: they do not change which tiles
    there are, and a run may go on elsewhere. Credentials in a source's URL are left out too.
    """
    return {
        "version": version(),
        "s2": [identity_of(source) for source in job.s2],
        "s1": [identity_of(source) for source in job.s1],
        "model": config_digest(job.model),
        "extent_wkt": job.extent_wkt,
        "aoi_wkt": job.aoi_wkt,
        "stride": _own_stride(job),
        "min_valid": job.min_valid,
        "mask": None if job.mask is None else identity_of(job.mask),
        "options": deciding(job.options),
    }


def _own_stride(job: ClassifyJob) -> int | None:
    """Return the stride, None where it is the tile size, whether that was said or not."""
    if job.stride is None or job.stride == read_spec(job.model).tile_size:
        return None
    return job.stride


def fingerprint_digest(identity: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a fingerprint, by which a journal is named and found again."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def deciding(options: SceneOptions) -> dict[str, Any]:
    """Return a scene's options without what only warns; as JSON gives them back."""
    values = {**asdict(options), "mask_classes": list(options.mask_classes)}
    del values["max_days"]
    return values


def identity_of(source: RasterSource) -> dict[str, Any]:
    """Return what tells a source from another one: its files, and how they are taken."""
    own = {"crs_wkt": source.crs_wkt, "bands": dict(source.bands)}
    return {**source_identity(source.path), **own}


def _sources(data: Mapping[str, Any], key: str) -> tuple[RasterSource, ...]:
    items = take(data, key, (list, tuple), JobError, "job")
    return tuple(_source(item, key) for item in items)


def _source(payload: Any, key: str) -> RasterSource:
    data = as_object(payload, JobError, f"A source of {key}")
    return RasterSource(
        path=take(data, "path", str, JobError, key),
        crs_wkt=take(data, "crs_wkt", (str, type(None)), JobError, key),
        bands=dict(take(data, "bands", dict, JobError, key)),
    )


def for_record(job: ClassifyJob) -> dict[str, Any]:
    """Return a job as plain values for logs and results, without credentials."""
    values = job.to_dict()
    masks = [values["mask"]] if values["mask"] else []
    for source in (*values["s2"], *values["s1"], *masks):
        source["path"] = without_credentials(source["path"])
    return values
