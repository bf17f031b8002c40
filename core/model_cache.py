"""The model of the last run stays loaded: a second run in a warm worker starts at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from .checkpoint import from_pretrained
from .contract.model_folder import config_digest
from .contract.weights import weights_state
from .devices import (
    CPU,
    Device,
    free_unused,
    known_device,
    moving,
    no_room,
    raise_broken,
)
from .fast_forward import Way, build
from .model import MultiModalModel
from .room import check_weights_fit
from .shortage import is_out_of_memory


@dataclass
class ModelCache:
    """Keeps the last model loaded."""

    _key: tuple[str, ...] | None = None
    _model: MultiModalModel | None = None
    _networks: dict[Way, nn.Module] = field(default_factory=dict)

    def get(
        self, folder: str, device: torch.device, is_cancelled: Callable[[], bool] = lambda: False
    ) -> MultiModalModel:
        """Return the model of a folder on a device, loaded anew only if something changed."""
        key = _key(folder, device)
        if self._model is None or key != self._key or not _is_on(self._model, device):
            self.forget()
            check_weights_fit(folder)
            self._model = from_pretrained(folder, device=device, is_cancelled=is_cancelled)
            self._key = key
        return self._model

    def on_device(
        self,
        folder: str,
        device: Device,
        is_cancelled: Callable[[], bool],
        tell: Callable[[str], None],
    ) -> tuple[MultiModalModel, Device]:
        """Return the model, and the device it is on: the CPU where another one has no room."""
        try:
            return self.get(folder, device.torch, is_cancelled), device
        except (RuntimeError, MemoryError, OSError) as problem:
            if not is_out_of_memory(problem):
                raise_broken(problem, device)
            if device.kind == CPU:
                raise no_room(device) from problem
        free_unused(device)
        tell(moving(device))
        cpu = known_device(torch.device(CPU))
        return self.on_device(folder, cpu, is_cancelled, tell)

    def holds(self, folder: str, device: Device) -> bool:
        """Return whether the model is there already."""
        return self._model is not None and self._key == _key(folder, device.torch)

    def network(self, way: Way) -> nn.Module:
        """Return the network of the model held that goes a way, made where it is not there."""
        assert self._model is not None  # on_device was called
        if way not in self._networks:
            self.keep(way, build(self._model, way))
        return self._networks[way]

    def keep(self, way: Way, network: nn.Module) -> None:
        """Keep the network that goes a way of the model held, and no other."""
        self._networks = {way: network}

    def forget(self) -> None:
        """Let go of the model."""
        self._model = self._key = None
        self._networks = {}


def _key(folder: str, device: torch.device) -> tuple[str, ...]:
    # Also where a digest vouches for the weights: it is compared when they are loaded.
    state = weights_state(folder)
    return str(Path(folder).resolve()), config_digest(folder), state, str(device)


def _is_on(model: MultiModalModel, device: torch.device) -> bool:
    """Return whether a model is where it was loaded to: want of memory may have moved it."""
    return next(model.parameters()).device.type == device.type
