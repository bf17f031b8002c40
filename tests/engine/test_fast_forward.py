"""The same network in other ways: folded, channels last, in 16 bits; and which one is chosen."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from multimodal import MultiModalModel
from multimodal.devices import BF16, FP32, known_device
from multimodal.fast_forward import FastForward, Way, build, folded
from multimodal.tuning import MOST_APART, choose_way, ways_on

CPU = known_device(torch.device("cpu"))
PLAIN, FUSED, SHORT = Way(FP32), Way(FP32, is_fused=True), Way(BF16, is_fused=True)


@pytest.fixture(scope="module", params=["resnet101", "resnet18"])
def model(request: pytest.FixtureRequest, tiny_config: Callable[..., dict[str, Any]]):
    torch.manual_seed(5)
    config = tiny_config()
    config["backbones"]["resnet101"]["arch"] = request.param
    if request.param == "resnet18":
        config["backbones"]["resnet101"].pop("layers", None)
    made = MultiModalModel(config).eval()
    with torch.no_grad():  # statistics as training leaves them: folding has something to do
        for module in made.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2.0)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.3)
    return made


@pytest.fixture(scope="module")
def tiles() -> tuple[Tensor, Tensor]:
    torch.manual_seed(6)
    return torch.randn(3, 2, 120, 120), torch.randn(3, 14, 120, 120)


def probabilities(network: nn.Module, tiles: tuple[Tensor, Tensor]) -> Tensor:
    with torch.inference_mode():
        return torch.sigmoid(network(*tiles))


def test_folding_changes_nothing_but_the_last_digits(model, tiles) -> None:
    with torch.inference_mode():
        plain, fused = model(*tiles), FastForward(model, FUSED)(*tiles)
    assert torch.allclose(plain, fused, atol=2e-5, rtol=1e-5)
    assert not torch.equal(plain, fused), "nothing was folded"


def test_no_batch_norm_is_left_and_the_model_stays_as_it_was(model) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    network = FastForward(model, FUSED)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.resnet.modules())
    assert all(
        m.weight.is_contiguous(memory_format=torch.channels_last)
        for m in network.resnet.modules() if isinstance(m, nn.Conv2d)
    )  # fmt: skip
    after = model.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def test_float32_shares_the_weights_of_the_rgb_branch(model) -> None:
    network = FastForward(model, FUSED)
    own = {tensor.data_ptr() for tensor in model.dinov3_backbone.parameters()}
    assert {tensor.data_ptr() for tensor in network.dinov3.parameters()} == own
    short = FastForward(model, SHORT)
    assert all(p.dtype is torch.bfloat16 for p in short.dinov3.parameters())
    assert all(p.dtype is torch.float32 for p in model.parameters())


def test_sixteen_bits_stay_close(model, tiles) -> None:
    apart = probabilities(FastForward(model, SHORT), tiles) - probabilities(model, tiles)
    assert 0 < float(apart.abs().max()) < 0.02


def test_training_mode_does_not_come_along(model) -> None:
    model.train()
    try:
        assert not any(module.training for module in folded(model.resnet_backbone).modules())
    finally:
        model.eval()


def test_exact_is_the_plain_way_alone() -> None:
    assert ways_on(CPU, "exact") == (PLAIN,)
    assert build(model := object(), PLAIN) is model  # type: ignore[arg-type]


def test_the_ways_of_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multimodal.tuning._cpu_has_bf16", lambda: True)
    assert ways_on(CPU, "auto") == (PLAIN, FUSED, SHORT)
    assert ways_on(CPU, "auto", only=SHORT.name) == (SHORT,)
    assert ways_on(CPU, "auto", only=FP32) == (PLAIN,)
    monkeypatch.setattr("multimodal.tuning._cpu_has_bf16", lambda: False)
    assert ways_on(CPU, "auto") == (PLAIN, FUSED)
    assert ways_on(CPU, "auto", only=SHORT.name) == (PLAIN,), "numbers that this machine has not"


class _Slow:
    """Answers what is known of each kind of network, after so many seconds."""

    def __init__(self, model, tiles, seconds: dict[type, float]) -> None:
        self.answer = probabilities(model, tiles)
        self.seconds, self.calls = seconds, []

    def __call__(self, network: nn.Module) -> Tensor:
        self.calls.append(type(network))
        time.sleep(self.seconds[type(network)])
        return self.answer


def test_the_fastest_way_is_chosen(model, tiles) -> None:
    slow = _Slow(model, tiles, {MultiModalModel: 0.4, FastForward: 0.0})
    chosen = choose_way(model, (PLAIN, FUSED), slow)
    assert (chosen.way, type(chosen.network)) == (FUSED, FastForward)
    assert chosen.gain > 1.03
    slow = _Slow(model, tiles, {MultiModalModel: 0.0, FastForward: 0.4})
    chosen = choose_way(model, (PLAIN, FUSED), slow)
    assert (chosen.way, chosen.network, chosen.gain) == (PLAIN, model, 1.0)


def test_a_way_with_other_numbers_is_not_taken(model, tiles) -> None:
    def answers(network: nn.Module) -> Tensor:
        found = probabilities(network, tiles)
        return found + 2 * MOST_APART if isinstance(network, FastForward) else found

    assert choose_way(model, (PLAIN, FUSED), answers).way == PLAIN

    def nothing(network: nn.Module) -> Tensor:
        spoilt = torch.nan if isinstance(network, FastForward) else 1.0
        return probabilities(network, tiles) * spoilt

    assert choose_way(model, (PLAIN, FUSED), nothing).way == PLAIN


def test_a_way_without_room_is_not_taken(model, tiles) -> None:
    def answers(network: nn.Module) -> Tensor:
        if isinstance(network, FastForward):
            raise MemoryError
        return probabilities(network, tiles)

    assert choose_way(model, (PLAIN, FUSED), answers).way == PLAIN


def test_a_cancel_ends_a_trial(model, tiles) -> None:
    slow = _Slow(model, tiles, {MultiModalModel: 0.0, FastForward: 0.0})
    assert choose_way(model, (PLAIN, FUSED), slow, lambda: True).way == PLAIN
    assert slow.calls == [MultiModalModel]
