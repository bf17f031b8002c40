"""What the model can be fed with; all else is an error that says what to pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from multimodal import MultiModalModel
from multimodal.contract.errors import ConfigError

Build = Callable[..., MultiModalModel]


@pytest.fixture
def build(tiny_config: Callable[..., dict[str, Any]]) -> Build:
    def make(**parts: Any) -> MultiModalModel:
        torch.manual_seed(0)
        return MultiModalModel({**tiny_config(), **parts}).eval()

    return make


def tiles(count: int = 2, height: int = 64, width: int = 64) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 2, height, width), torch.randn(count, 14, height, width)


@pytest.mark.parametrize(("count", "height", "width"), [(0, 64, 64), (2, 0, 0), (2, 64, 0)])
@pytest.mark.parametrize("mode", [True, False])
def test_nothing_is_no_input(build: Build, count: int, height: int, width: int, mode: bool) -> None:
    with pytest.raises(ConfigError, match=r"s1_data is empty, .*at least one tile"):
        build().train(mode)(*tiles(count, height, width))


@pytest.mark.parametrize("which", [0, 1])
def test_arrays_are_told_what_to_become(build: Build, which: int) -> None:
    data: list[Any] = list(tiles())
    data[which] = data[which].numpy()
    name = ("s1_data", "s2_data")[which]
    said = rf"{name} must be a torch tensor, not ndarray: pass torch\.as_tensor\({name}"
    with pytest.raises(ConfigError, match=said):
        build()(*data)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int16, torch.uint8, torch.bool])
@pytest.mark.parametrize("which", [0, 1])
def test_another_kind_of_number_is_told_which_to_become(
    build: Build, which: int, dtype: torch.dtype
) -> None:
    data = list(tiles())
    data[which] = data[which].to(dtype)
    name = ("s1_data", "s2_data")[which]
    said = rf"{name} is {dtype}, but the weights of the model are torch.float32: pass {name}\.to\("
    with pytest.raises(ConfigError, match=said):
        build()(*data)
    with pytest.raises(ConfigError, match=said), torch.autocast("cpu", torch.bfloat16):
        build()(*data)


def test_floats_for_a_model_of_doubles_are_told_so(build: Build) -> None:
    with pytest.raises(ConfigError, match=r"float32, but the weights of the model are .*float64"):
        build().double()(*tiles())


def test_autocast_takes_what_is_short_already(build: Build) -> None:
    data = [tile.bfloat16() for tile in tiles()]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert build()(*data).shape == (2, 19)


@pytest.mark.parametrize("which", [0, 1])
def test_the_only_sensor_is_checked_like_both(build: Build, which: int) -> None:
    model = build(modality_dropout=0.2)
    for spoilt, said in (
        (lambda tile: tile[0], "must have the shape"),
        (lambda tile: tile[:, :1], "must have the shape"),
        (lambda tile: tile[:0], "is empty"),
        (lambda tile: tile.numpy(), "must be a torch tensor"),
        (lambda tile: tile.double(), "float64"),
    ):
        data: list[Any] = [None, None]
        data[which] = spoilt(tiles()[which])
        with pytest.raises(ConfigError, match=said):
            model(*data)


def test_a_trace_is_the_model(build: Build) -> None:
    model, data = build(), tiles()
    traced = torch.jit.trace(model, data, check_trace=False)
    with torch.no_grad():
        torch.testing.assert_close(traced(*data), model(*data), atol=1e-6, rtol=0)
