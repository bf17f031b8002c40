"""Weight files of other projects: read without running code, unwrapped, checked name by name."""

from __future__ import annotations

import re
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError  # nosec B403: its name alone, to tell of what torch refuses
from typing import Any
from zipfile import BadZipFile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..contract.errors import ConfigError, WeightsUnavailableError
from ..finite import all_finite

State = dict[str, Tensor]

# What a folder's weights are called: by transformers and timm, and by both before safetensors.
_NAMES = ("model.safetensors", "pytorch_model.safetensors", "pytorch_model.bin")
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
# Under which key training programs keep the state dict. A teacher is what DINO releases.
_WRAPPERS = ("teacher", "state_dict", "model_state_dict", "model_state", "model", "net")
_SHOWN = 3
# What zipfile, safetensors and torch's reader of pickles are known to throw at damaged files.
_DAMAGED = (
    SafetensorError, BadZipFile, OSError, RuntimeError, EOFError, LookupError, ValueError,
    TypeError, AttributeError, ArithmeticError, AssertionError, MemoryError, struct.error,
)  # fmt: skip


def weight_file(weights: str, key: str) -> Path:
    """Return the file that ``weights``, a file or a folder, means.

    Raises:
        WeightsUnavailableError: there is none, or a folder holds several.
    """
    path = Path(weights).expanduser()
    if path.is_file():
        return path
    if not path.is_dir():
        raise WeightsUnavailableError(
            f"'{key}' is '{weights}', which is neither a file nor a folder: correct the path.",
            path=str(path),
        )
    for name in _NAMES:
        if (path / name).is_file():
            return path / name
    found = sorted(item for item in path.iterdir() if item.suffix in _SUFFIXES and item.is_file())
    if len(found) != 1:
        raise WeightsUnavailableError(
            f"The folder '{weights}' of '{key}' holds {len(found)} weight files and none is called "
            f"{' or '.join(_NAMES)}: name the file itself.",
            path=str(path),
        )
    return found[0]


def read_state(path: Path) -> State:
    """Read a state dict from a ``.safetensors`` file, or from a pickle that holds only tensors.

    Wrappers of training programs (``{"model": ...}``, ``{"teacher": ...}``) are taken off.

    Raises:
        WeightsUnavailableError: damaged, a pickle that would run code, or no state dict.
    """
    return unwrapped(read_content(path), path)


def read_content(path: Path) -> Any:
    """Read whatever a ``.safetensors`` file or a pickle of tensors and plain values holds.

    Raises:
        WeightsUnavailableError: damaged, or a pickle that would run code.
    """
    try:
        return _READERS[_format(path)](path)
    except _DAMAGED as problem:
        raise WeightsUnavailableError(
            f"'{path}' cannot be read ({_first_line(problem)}): it is damaged or no weight file. "
            "Download it again.",
            path=str(path),
        ) from problem


def _format(path: Path) -> str:
    """Tell by content, for a download may be a web page under a weight file's name."""
    with path.open("rb") as stream:
        head = stream.read(9)
    if head[8:9] == b"{":  # eight bytes of length, then JSON
        return "safetensors"
    # torch.save, today and before 1.6. What it made before 0.4 is a tar, which torch before 2.6
    # unpickles whatever weights_only says, and a tar can begin with any letters.
    if head[:2] in (b"PK", b"\x80\x02") and not tarfile.is_tarfile(path):
        return "pickle"
    raise ValueError("it is neither safetensors nor a file of torch.save")


def _read_pickle(path: Path) -> Any:
    try:
        # Mapped where the format allows it: the 7B model need not be in memory twice.
        return torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except UnpicklingError as problem:
        raise _refused(path, f"a pickle that holds more than tensors{_named(problem)}") from problem
    except RuntimeError as problem:
        if "TorchScript" not in str(problem):
            raise
        raise _refused(path, "a TorchScript program, not weights") from problem


def _refused(path: Path, what: str) -> WeightsUnavailableError:
    return WeightsUnavailableError(
        f"'{path}' was refused: it is {what}, and such a file can run any program when it is "
        "opened. Get the weights as .safetensors, or have their author save the state dict alone.",
        path=str(path),
    )


def _named(problem: UnpicklingError) -> str:
    """Return what the pickle wanted to import, for whoever wrote it."""
    match = re.search(r"GLOBAL ([\w.]+)", str(problem))
    return f" ({match[1]})" if match else ""


_READERS: dict[str, Callable[[Path], Any]] = {"safetensors": load_file, "pickle": _read_pickle}


def unwrapped(content: Any, path: Path) -> State:
    """Return the tensors of a state dict, whichever wrappers it is in.

    Raises:
        WeightsUnavailableError: there is none.
    """
    while isinstance(content, Mapping):
        inner = [content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
        if not inner:
            break
        content = inner[0]
    if isinstance(content, Mapping):
        state = {key: value for key, value in content.items() if isinstance(value, Tensor)}
        if state:
            return state
    raise WeightsUnavailableError(
        f"'{path}' holds no state dict, which is a dict of named tensors.", path=str(path)
    )


def without_prefix(state: Mapping[str, Tensor], prefix: str) -> State:
    """Return what stands under ``prefix``, by its name there; the rest is left out."""
    return {key[len(prefix) :]: state[key] for key in state if key.startswith(prefix)}


def not_finite(state: Mapping[str, Tensor]) -> Iterator[str]:
    """Yield the names of tensors that hold NaN or infinity."""
    for name, value in state.items():
        if not all_finite(value):
            yield name


def check_finite(state: Mapping[str, Tensor], source: str | Path) -> None:
    """Refuse NaN and infinity, of which a network makes nothing but more of them.

    Raises:
        WeightsUnavailableError: names the first tensor that holds any.
    """
    broken = next(not_finite(state), None)
    if broken is not None:
        raise WeightsUnavailableError(
            f"'{broken}' in '{source}' holds values that are no numbers (NaN or infinite): the "
            "training went wrong, or the file is damaged. Choose other weights.",
            path=str(source),
        )


def check_fit(
    state: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    *,
    path: Path,
    key: str,
    optional: Sequence[str] = (),
) -> None:
    """Compare names and shapes with those of a network; ``optional`` are endings of names.

    Raises:
        ConfigError: names the first keys that are missing, unknown or of another shape.
    """
    optional = tuple(optional)
    problems = [
        f"{name} is missing"
        for name in expected
        if name not in state and not (optional and name.endswith(optional))
    ]
    problems += [f"{name} is unknown" for name in state if name not in expected]
    problems += [
        f"{name} is {tuple(state[name].shape)} instead of {tuple(wanted.shape)}"
        for name, wanted in expected.items()
        if name in state and state[name].shape != wanted.shape
    ]
    if problems:
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise ConfigError(
            f"The weights in '{path}' ('{key}') do not fit the network that is configured: "
            f"{'; '.join(problems[:_SHOWN])}{more}. Configure the network that they were made "
            "for, or choose other weights.",
            key=key,
            path=str(path),
        )


def _first_line(problem: Exception) -> str:
    return (str(problem).strip() or type(problem).__name__).splitlines()[0]
