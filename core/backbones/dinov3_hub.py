"""DINOv3 weights from a folder or from the Hugging Face hub, at a commit that is known.

The hub's own library asks a network that is not there six times, over 23 seconds. Here it is asked
twice, and what is in the cache is taken then; a slow network keeps all its patience.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any, cast

import torch
from huggingface_hub import (
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    StrictDataclassError,
)
from safetensors import SafetensorError

from ..config import Dinov3Config
from ..contract.errors import ConfigError, WeightsUnavailableError
from ..contract.weights import INDEX_FILE, find_weights
from ..torchvision_guard import AutoConfig, PretrainedConfig, PreTrainedModel
from .dinov3_sizes import OFFICIAL_FILES
from .downloads import check_snapshot
from .weight_files import check_finite

_KEY = "backbones.dinov3"
_MAIN = "main"
_CONFIG = "config.json"
_PAUSE = 1.0  # seconds before a network that is not there is asked again
_ANSWERS_OF_SUBSTANCE = (401, 403, 404)
# A config.json that is no JSON, or holds what transformers cannot make a configuration of.
_NO_ARCHITECTURE = (
    HTTPError, OSError, ValueError, StrictDataclassError, ArithmeticError, AttributeError,
    LookupError, RecursionError, TypeError,
)  # fmt: skip
_SHOWN = 3
_DOWNLOADS = "https://ai.meta.com/resources/models-and-libraries/dinov3-downloads/"


@dataclass(frozen=True)
class Source:
    """Where the files come from: a folder, or a commit of the hub, its cache alone or not."""

    name: str
    revision: str | None = None
    local_only: bool = True


def is_local(name: str) -> bool:
    """Tell a folder, there or not, from a hub id; also a folder of another system."""
    looks_local = name.startswith((".", "/", "~")) or "\\" in name or name[1:2] == ":"
    return looks_local or Path(name).is_dir()


def local_path(name: str) -> Path:
    """Return the folder or file that a name means."""
    # Unlike Path.expanduser no error for a user that is not there.
    return Path(os.path.expanduser(name))


def name_alone(path: str) -> str:
    """Return the name of a file or folder: where the one who trained keeps it is private."""
    # As Windows splits paths: by both kinds of slash, whatever the system here.
    return PureWindowsPath(os.path.abspath(local_path(path))).name or path


def find_source(config: Dinov3Config) -> Source:
    """Ask the hub which commit is meant, and fall back to the cache where it cannot be had.

    Raises:
        WeightsUnavailableError: gated, unknown, or not reachable, and not in the cache.
    """
    name = config.model_name
    if is_local(name):
        return Source(str(local_path(name)))
    wanted = config.revision or _MAIN
    try:
        return Source(name, _commit(name, wanted), local_only=False)
    except (HTTPError, HFValidationError, OSError) as problem:
        cached = try_to_load_from_cache(name, _CONFIG, revision=wanted)
        if isinstance(cached, str):
            return Source(name, _commit_of(cached), local_only=True)
        if _is_final(problem):
            raise unavailable(name, problem) from problem
    try:  # busy or slow: this asks again, with growing patience
        return Source(name, _commit_of(hf_hub_download(name, _CONFIG, revision=wanted)), False)
    except (HTTPError, OSError) as problem:
        raise unavailable(name, problem) from problem


def read_architecture(source: Source) -> PretrainedConfig:
    """Read config.json of the source; code that it names (``auto_map``) is never run.

    Left to itself transformers would ask on standard input whether it may.
    """
    try:
        return AutoConfig.from_pretrained(
            source.name, revision=source.revision or _MAIN, local_files_only=source.local_only,
            trust_remote_code=False,
        )  # fmt: skip
    except _NO_ARCHITECTURE as problem:
        raise unavailable(source.name, problem) from problem


def load_model(
    source: Source, architecture: PretrainedConfig, network: type[PreTrainedModel]
) -> PreTrainedModel:
    """Load the weights of the source, in float32; a pickle is never loaded.

    Raises:
        ConfigError: the weights have other shapes or names than ``architecture``.
        WeightsUnavailableError: they cannot be had, or are incomplete.
    """
    _check_parts(source)
    try:
        loaded: Any = network.from_pretrained(
            source.name,
            revision=source.revision or _MAIN,
            local_files_only=source.local_only,
            config=architecture,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            dtype=torch.float32,
        )
    except (HTTPError, OSError, ValueError, SafetensorError) as problem:
        raise unavailable(source.name, problem) from problem
    except RuntimeError as problem:
        raise ConfigError(
            f"The weights of '{source.name}' do not fit '{_KEY}.config': {problem}", key=_KEY
        ) from problem
    _check_download(source)
    model, report = cast(tuple[PreTrainedModel, dict[str, set[str]]], loaded)
    _check_report(source.name, report["missing_keys"], report["unexpected_keys"])
    check_finite(model.state_dict(), source.name)
    return model


def _check_parts(source: Source) -> None:
    """See that the index of a folder names its own safetensors files: transformers does not.

    Raises:
        ModelFolderError: a part is missing, elsewhere, or a pickle.
    """
    if source.revision is None and (Path(source.name) / INDEX_FILE).exists():
        find_weights(source.name)


def _check_download(source: Source) -> None:
    cached = source.revision and try_to_load_from_cache(source.name, _CONFIG, None, source.revision)
    if isinstance(cached, str):
        check_snapshot(Path(cached).parent)


def _check_report(name: str, missing: set[str], unknown: set[str]) -> None:
    if missing:
        raise WeightsUnavailableError(
            f"The weights in '{name}' are incomplete: {_some(missing)} missing. "
            "Download the folder again."
        )
    if unknown:
        raise ConfigError(
            f"The weights of '{name}' do not fit '{_KEY}.config': {_some(unknown)} unknown to it.",
            key=_KEY,
        )


def _some(keys: set[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f"{', '.join(sorted(keys)[:_SHOWN])}{more} {'is' if len(keys) == 1 else 'are'}"


def _commit(name: str, revision: str) -> str:
    url = hf_hub_url(name, _CONFIG, revision=revision)
    try:
        answer = get_hf_file_metadata(url)
    except HTTPError as problem:
        if not _is_a(problem, "ConnectError"):
            raise
        time.sleep(_PAUSE)
        answer = get_hf_file_metadata(url)
    return answer.commit_hash or revision


def _commit_of(cached: str) -> str:
    return Path(cached).parent.name  # .../snapshots/<commit>/config.json


def _is_final(problem: BaseException) -> bool:
    """Tell whether asking again is of no use: an answer of substance, or nobody there."""
    if isinstance(problem, HfHubHTTPError):
        return problem.response.status_code in _ANSWERS_OF_SUBSTANCE
    return _is_a(problem, "ConnectTimeout") or not _is_a(problem, "TimeoutException")


def _is_a(problem: BaseException, name: str) -> bool:
    # By name: these are httpx's in some versions of the hub's library and httpx2's in others.
    return any(kind.__name__ == name for kind in type(problem).__mro__)


def _causes(problem: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = problem
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def unavailable(name: str, problem: BaseException) -> WeightsUnavailableError:
    """Return the one error for weights that cannot be had: why, and every way out."""
    if is_local(name):
        reason = "folder"
        why = f"'{name}' must be a folder with config.json and model.safetensors of a DINOv3 model."
    else:
        reason, why = _reason(name, problem)
        why += f" {_offline_way(name)}"
    summary = (str(problem).strip() or type(problem).__name__).splitlines()[0]
    return WeightsUnavailableError(
        f"The pretrained DINOv3 weights '{name}' cannot be loaded. {why} To build the network "
        f"without pretrained weights, offline, set '{_KEY}.pretrained' to False. ({summary})",
        model=name,
        reason=reason,
    )


def _reason(name: str, problem: BaseException) -> tuple[str, str]:
    chain = list(_causes(problem))
    page = f"https://huggingface.co/{name}"
    if _has(chain, GatedRepoError):
        return "gated", (
            f"They are gated, and you have no access yet: accept the DINOv3 License at {page} , "
            "make an access token and log in with `hf auth login` (or set HF_TOKEN)."
        )
    if any(isinstance(link, HfHubHTTPError) and link.response.status_code == 401 for link in chain):
        return "token", (
            "The hub refused your access token (401), or has no such model: make a new token at "
            "https://huggingface.co/settings/tokens , log in with `hf auth login` (or set "
            f"HF_TOKEN), accept the DINOv3 License at {page} , and check the name."
        )
    if _has(chain, RevisionNotFoundError):
        return "revision", f"This revision does not exist: choose one of {page}/commits/main ."
    if _has(chain, RepositoryNotFoundError, HFValidationError):
        return "not_found", (
            f"The hub knows no such model: check '{_KEY}.model_name'; the released ones are "
            f"{', '.join(OFFICIAL_FILES)}. They are gated by the DINOv3 License."
        )
    offline = _has(chain, OfflineModeIsEnabled) or constants.is_offline_mode()
    where = "HF_HUB_OFFLINE is set" if offline else f"{constants.ENDPOINT} cannot be reached"
    return "offline" if offline else "network", (
        f"{where}, and they are not in the cache '{constants.HF_HUB_CACHE}'. They are gated: "
        f"accept the DINOv3 License at {page} , log in with `hf auth login` (or set HF_TOKEN), "
        "and be online once."
    )


def _has(chain: list[BaseException], *kinds: type[BaseException]) -> bool:
    return any(isinstance(link, kinds) for link in chain)


def _offline_way(name: str) -> str:
    folder = name.rsplit("/", 1)[-1]
    way = (
        f"Or without this network: copy config.json and model.safetensors from "
        f"https://huggingface.co/{name}/tree/main into a folder, say '{folder}', and set "
        f"'{_KEY}.model_name' to the folder"
    )
    if name not in OFFICIAL_FILES:
        return f"{way}."
    return f"{way}; or set '{_KEY}.weights' to the file {OFFICIAL_FILES[name]} of {_DOWNLOADS} ."
