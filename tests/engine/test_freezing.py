"""What frozen means: no gradient, no drift, no jitter, no memory; and training without a sensor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from multimodal import MultiModalModel
from multimodal.contract.errors import ConfigError
from multimodal.modality_dropout import ModalityDropout

VIT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
}  # fmt: skip
TILES = 400


def build(freeze: Any = False, **parts: Any) -> MultiModalModel:
    torch.manual_seed(0)
    return MultiModalModel(
        {
            "backbones": {
                "dinov3": {"pretrained": False, "config": VIT, "freeze": freeze is True},
                "resnet101": {
                    "pretrained": False, "arch": "resnet18", "width": 4, "freeze": freeze,
                },
            },
            **parts,
        }
    )  # fmt: skip


def tiles(count: int = 2) -> tuple[Tensor, Tensor]:
    torch.manual_seed(count)
    return torch.randn(count, 2, 64, 64), torch.randn(count, 14, 64, 64)


def bytes_kept(forward: Callable[[], Tensor]) -> int:
    """Return what autograd keeps for the backward pass, parameters aside."""
    kept = 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += 0 if isinstance(tensor, torch.nn.Parameter) else tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return kept


@pytest.mark.parametrize("branch", ["dinov3_backbone", "resnet_backbone"])
def test_a_frozen_branch_keeps_no_activations(branch: str) -> None:
    inputs = torch.randn(2, 3 if branch == "dinov3_backbone" else 13, 64, 64)
    learning, frozen = (getattr(build(freeze).train(), branch) for freeze in (False, True))
    assert bytes_kept(lambda: learning(inputs)) > 100_000
    assert bytes_kept(lambda: frozen(inputs)) == 0
    assert not frozen(inputs).requires_grad


@pytest.mark.parametrize("freeze", [False, True])
def test_dinov3_jitters_in_training_unless_it_is_frozen(freeze: bool) -> None:
    branch = build(freeze).train().dinov3_backbone
    rgb = torch.randn(2, 3, 64, 64)
    assert torch.equal(branch(rgb), branch(rgb)) is freeze


def part_by_part(model: MultiModalModel) -> MultiModalModel:
    for module in model.modules():
        module.train()
    return model


def test_frozen_stays_frozen_where_every_part_is_set_to_train() -> None:
    model = part_by_part(build(True))
    before = {name: value.clone() for name, value in model.resnet_backbone.named_buffers()}
    rgb = torch.randn(2, 3, 64, 64)
    model(*tiles())
    assert torch.equal(model.dinov3_backbone(rgb), model.dinov3_backbone(rgb))
    assert not any(part.training for part in model.dinov3_backbone.modules())
    for name, value in model.resnet_backbone.named_buffers():
        assert torch.equal(value, before[name]), name


def test_a_learning_stem_keeps_the_mode_that_each_part_was_set_to() -> None:
    model = part_by_part(build("all but stem"))
    model(*tiles())
    branch = model.resnet_backbone
    assert {name for name, part in branch.named_modules() if part.training} == {"conv1", "bn1"}
    assert all(part.training for part in model.dinov3_backbone.modules())


def test_a_compiled_model_stays_frozen_too() -> None:
    model = part_by_part(build(True, classifier={"drop_rate": 0.0}))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        found = compiled(*tiles())
        torch.testing.assert_close(found, model.eval()(*tiles()), atol=1e-5, rtol=0)


def test_all_but_stem_keeps_its_modes() -> None:
    model = build("all but stem")
    branch = model.resnet_backbone
    for training in (True, False, True):
        model.train(training)
        assert {name for name, part in branch.named_children() if part.training} == (
            {"conv1", "bn1"} if training else set()
        )
    assert {n for n, p in branch.named_parameters() if p.requires_grad} == {
        "conv1.weight", "bn1.weight", "bn1.bias",
    }  # fmt: skip
    model(*tiles()).sum().backward()
    assert float(branch.conv1.weight.grad.abs().sum()) > 0


def test_modality_dropout_blanks_its_share_and_never_both() -> None:
    torch.manual_seed(0)
    s1, s2 = torch.ones(TILES, 2, 4, 4), torch.ones(TILES, 14, 4, 4)
    layer = ModalityDropout(0.4)
    out1, out2 = layer.train()(s1, s2)
    lost1, lost2 = (out.flatten(1).sum(1) == 0 for out in (out1, out2))
    assert not bool((lost1 & lost2).any())
    for lost in (lost1, lost2):
        assert abs(float(lost.float().mean()) - 0.2) < 0.06
    assert bool(((out1 == 0) | (out1 == 1)).all())
    for same in (layer.eval()(s1, s2), ModalityDropout(0.0).train()(s1, s2)):
        assert same[0] is s1
        assert same[1] is s2


def test_a_blanked_sensor_is_blank_whatever_was_in_it() -> None:
    torch.manual_seed(0)
    broken = torch.full((50, 2, 2, 2), float("nan"), requires_grad=True)
    out, _ = ModalityDropout(0.9).train()(broken, torch.ones(50, 14, 2, 2))
    blank = (out == 0).flatten(1).all(1)
    assert 0 < int(blank.sum()) < 50
    assert bool(out[~blank].isnan().all())
    assert out.dtype is broken.dtype
    short = torch.ones(4, 2, 2, 2, dtype=torch.bfloat16)
    assert ModalityDropout(0.9).train()(short, short)[0].dtype is torch.bfloat16


@pytest.mark.parametrize("missing", ["s1_data", "s2_data"])
def test_the_only_sensor_is_never_dropped(missing: str) -> None:
    model = build(True, modality_dropout=0.99, classifier={"drop_rate": 0.0}).train()
    data = {**dict(zip(("s1_data", "s2_data"), tiles(20))), missing: None}
    with torch.no_grad():
        torch.testing.assert_close(model(**data), model.eval()(**data), atol=0, rtol=0)


def test_modality_dropout_follows_the_seed() -> None:
    layer = ModalityDropout(0.5).train()
    found = []
    for _ in range(2):
        torch.manual_seed(7)
        found.append(layer(torch.ones(50, 2, 1, 1), torch.ones(50, 14, 1, 1))[0])
    assert torch.equal(*found)


@pytest.mark.parametrize("missing", ["s1_data", "s2_data"])
def test_a_missing_sensor_is_blank_where_the_model_knows_that(missing: str, tmp_path: Path) -> None:
    model = build(modality_dropout=0.2).eval()
    model.save_pretrained(tmp_path)
    model = MultiModalModel.from_pretrained(tmp_path)
    data = dict(zip(("s1_data", "s2_data"), tiles()))
    blank = {**data, missing: torch.zeros_like(data[missing])}
    with torch.no_grad():
        found = model(**{**data, missing: None})
        torch.testing.assert_close(found, model(**blank), atol=0, rtol=0)
        assert not torch.allclose(found, model(**data))


@pytest.mark.parametrize("missing", ["s1_data", "s2_data"])
def test_a_missing_sensor_is_refused_where_it_never_was(missing: str) -> None:
    data = {**dict(zip(("s1_data", "s2_data"), tiles())), missing: None}
    with pytest.raises(ConfigError, match=f"{missing} is None.*modality_dropout"):
        build().eval()(**data)


def test_both_sensors_missing_is_refused() -> None:
    with pytest.raises(ConfigError, match="Both sensors are missing"):
        build(modality_dropout=0.2)(None, None)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_shares_that_cannot_be(share: float) -> None:
    with pytest.raises(ConfigError, match="'modality_dropout' must be at least 0 and under 1"):
        build(modality_dropout=share)


def test_modality_dropout_compiles() -> None:
    model = build(True, modality_dropout=0.5, classifier={"drop_rate": 0.0}).train()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    compiled(*tiles(4)).sum().backward()
    assert float(model.classifier.fc.weight.grad.abs().sum()) > 0
