"""Shapes, output strides, dilation, names and pretrained loading of the models."""

from __future__ import annotations

import pytest
import torch
from model_zoo import TASKS, ZOO, build, pictures
from slowness import slow_but
from torch import nn
from torch.testing import assert_close

from igc.errors import BadCheckpoint, BadInput
from igc.models.aspp import ASPPHead, ImagePool
from igc.models.cross_stitch import CrossStitch
from igc.models.dpt import dpt_base_encoder
from igc.models.heads import LinearHead
from igc.models.hrnet import hrnet_w18
from igc.models.mobilenet import mobilenet_v2, round_to_8
from igc.models.mtan import MTAN
from igc.models.multitask import Branched, SingleTaskNetworks
from igc.models.nddr import NDDR
from igc.models.pretrained import load_pretrained, resize_position
from igc.models.resnet import resnet18, resnet34, resnet50
from igc.models.vgg import VGG16
from igc.models.vit import ViT, gated_layers, vit_base, vit_small

META = torch.device("meta")


@pytest.mark.parametrize(
    ("network", "params"),
    [
        # As published with the ImageNet weights of torchvision and timm.
        (lambda: resnet18(num_classes=1000), 11_689_512),
        (lambda: resnet34(num_classes=1000), 21_797_672),
        (lambda: resnet50(num_classes=1000), 25_557_032),
        (lambda: resnet50(num_classes=1000, output_stride=8), 25_557_032),
        (lambda: mobilenet_v2(num_classes=1000), 3_504_872),
        (VGG16, 138_357_544),
        (lambda: vit_small(num_classes=1000), 22_050_664),
        (lambda: vit_base(num_classes=1000), 86_567_656),
        (lambda: vit_base(num_classes=1000, split_qkv=True), 86_567_656),
    ],
)
def test_published_parameter_counts(network: object, params: int) -> None:
    with META:
        assert sum(parameter.numel() for parameter in network().parameters()) == params


@pytest.mark.slow
@pytest.mark.parametrize("kind", [resnet18, resnet34, resnet50, mobilenet_v2])
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_output_stride(kind: object, stride: int) -> None:
    with META:
        features = kind(output_stride=stride, width=0.25)(torch.zeros(2, 3, 96, 128))
    assert features.shape[2:] == (96 // stride, 128 // stride)


def test_dilation_of_resnet_at_output_stride_8() -> None:
    """The first 3x3 of a stage without stride keeps the dilation of the stage before."""
    with META:
        basic, deep = resnet18(output_stride=8), resnet50(output_stride=8)
    dilations = [
        [(b.conv1.dilation[0], b.conv2.dilation[0]) for b in layer]
        for layer in (basic.layer2, basic.layer3, basic.layer4)
    ]
    assert dilations == [[(1, 1), (1, 1)], [(1, 2), (2, 2)], [(2, 4), (4, 4)]]
    assert [b.conv2.dilation[0] for b in deep.layer3] == [1, 2, 2, 2, 2, 2]
    assert [b.conv2.dilation[0] for b in deep.layer4] == [2, 4, 4]


def test_dilation_keeps_what_striding_sees() -> None:
    """On the pixels that striding keeps, the dilated network computes the same features."""
    strided, dilated = resnet50(width=0.125).eval(), resnet50(width=0.125, output_stride=8).eval()
    dilated.load_state_dict(strided.state_dict())
    x = torch.zeros(1, 3, 256, 256)
    x[:, :, 96:160, 96:160] = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert_close(dilated.double()(x.double())[:, :, ::4, ::4], strided.double()(x.double()))


def test_wrong_sizes_are_refused() -> None:
    for kind in (resnet18, mobilenet_v2):
        with pytest.raises(BadInput, match="output_stride 4"):
            kind(output_stride=4)
    with pytest.raises(BadInput, match="multiple of the patch size 16"):
        vit_small(image=(224, 230))


def test_mobilenet_widths() -> None:
    assert [round_to_8(c) for c in (32, 8.4, 24 * 0.35, 90, 3)] == [32, 8, 8, 88, 8]


@pytest.mark.slow
def test_scales() -> None:
    with META:
        x = torch.zeros(2, 3, 96, 128)
        resnet = resnet50(scales=True)(x)
        assert [y.shape[1:] for y in resnet] == [
            (256, 24, 32), (512, 12, 16), (1024, 6, 8), (2048, 3, 4),
        ]  # fmt: skip
        hrnet = hrnet_w18()(x)
        assert [y.shape[1:] for y in hrnet] == [(18, 24, 32), (36, 12, 16), (72, 6, 8), (144, 3, 4)]
        tokens = dpt_base_encoder((96, 128))(x)
        assert [y.shape for y in tokens] == 4 * [(2, 1 + 6 * 8, 768)]


@pytest.mark.parametrize("name", slow_but(sorted(ZOO)[::3], sorted(ZOO)))
def test_multi_task_outputs(name: str) -> None:
    network = build(name, "meta")
    y = network(pictures(2, "meta"))
    if not isinstance(y, dict):
        return
    assert list(y) == list(TASKS)
    assert [tensor.shape[:2] for tensor in y.values()] == [(2, n) for n in TASKS.values()]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hrnet", "dpt", "aspp", "psp"])
def test_heads_reach_the_resolution_of_the_picture(name: str) -> None:
    x = pictures(1, "meta")
    assert {y.shape[2:] for y in build(name, "meta")(x).values()} == {x.shape[2:]}


def test_image_pool_is_the_same_everywhere() -> None:
    pool = ImagePool(4, 6).eval()
    x = torch.randn(2, 4, 5, 7)
    y = pool(x)
    assert y.shape == (2, 6, 5, 7)
    assert_close(y, pool(x.mean((2, 3), keepdim=True)).expand_as(y))


def test_linear_head_reads_the_token_or_the_mean() -> None:
    x = torch.randn(2, 9, 6)
    token, mean = LinearHead(6, 3, token=True), LinearHead(6, 3)
    assert_close(token(x), token.fc(x[:, 0]))
    maps = x.transpose(1, 2).unflatten(2, (3, 3))
    assert_close(mean(maps), mean.fc(x.mean(1)))


def test_cross_stitch_mixes_by_its_weights() -> None:
    """With weight 1 on the own features and 0 elsewhere it is T single-task networks."""
    network = build("cross-stitch")
    alone = SingleTaskNetworks(dict(network.encoders), dict(network.heads)).eval()
    x = pictures(2)
    with torch.no_grad():
        for unit in network.units:
            unit.weight.copy_(torch.eye(3)[..., None].expand_as(unit.weight))
        assert_close(network(x), alone(x))
        network.units[0].weight[0, 2] = 0.5
        changed = network(x)
        assert not torch.allclose(changed["seg"], alone(x)["seg"])
        assert_close(changed["depth"], alone(x)["depth"])


def test_mtan_with_open_masks_reads_the_shared_encoder() -> None:
    network = build("mtan")
    x = pictures(2)
    with torch.no_grad():
        for attention in network.attention[3].values():
            attention[4].weight.zero_()
            attention[4].bias.fill_(100.0)  # sigmoid(100) = 1 in float32
        y = network(x)
        features = network.encoder(x)
        for task, head in network.heads.items():
            assert_close(y[task], head(features))


def test_nddr_starts_near_the_own_features() -> None:
    network = NDDR(
        {t: resnet18(width=0.25) for t in "ab"}, {t: nn.Identity() for t in "ab"}, own=1.0
    )
    weight = network.fusions["0"][1][0].weight
    assert_close(weight[:, 16:, 0, 0], torch.eye(16))
    assert not weight[:, :16].any()


def test_branches_share_the_trunk_and_nothing_else() -> None:
    network = build("branched")
    x = pictures(2)
    with torch.no_grad():
        before = network(x)
        network.branches["b"][0].conv1.weight.mul_(0.5)
        after = network(x)
    assert torch.equal(before["seg"], after["seg"])
    assert not torch.equal(before["depth"], after["depth"])


def test_tasks_must_agree() -> None:
    heads = {"seg": nn.Identity(), "depth": nn.Identity()}
    encoders = {"seg": resnet18(width=0.25)}
    for kind in (SingleTaskNetworks, CrossStitch, NDDR):
        with pytest.raises(BadInput, match="depth"):
            kind(encoders, heads)
    trunk, branches = nn.Identity(), {"x": nn.Identity()}
    with pytest.raises(BadInput, match="'x', 'y'"):
        Branched(trunk, branches, {"seg": "y", "depth": "y"}, heads)


def test_split_projections_take_a_fused_state_dict() -> None:
    fused, split = ViT(24, 2, 3, num_classes=5), ViT(24, 2, 3, num_classes=5, split_qkv=True)
    state = fused.state_dict()
    split.load_state_dict(state, strict=True)
    assert "blocks.0.attn.qkv.weight" in state  # the caller's dict is not changed
    split.load_state_dict(split.state_dict(), strict=True)
    x = torch.randn(2, 3, 224, 224, dtype=torch.float64)
    with torch.no_grad():
        assert_close(split.double()(x), fused.double()(x), rtol=1e-10, atol=1e-12)


def test_gated_layers_are_those_of_appendix_c() -> None:
    split, fused = ViT(24, 2, 3, split_qkv=True), ViT(24, 2, 3)
    names = gated_layers(split)
    inner = ["attn.q", "attn.k", "attn.v", "attn.proj", "mlp.fc1", "mlp.fc2"]
    assert names == [f"blocks.{k}.{name}" for k in range(2) for name in inner]
    for vit in (split, fused):
        linears = {n for n, m in vit.named_modules() if isinstance(m, nn.Linear)}
        assert set(gated_layers(vit)) == linears


def test_pretrained_without_the_classifier() -> None:
    for kind in (resnet18, mobilenet_v2):
        full, bare = kind(width=0.25, num_classes=9), kind(width=0.25)
        load_pretrained(bare, full.state_dict())
        load_pretrained(kind(width=0.25, num_classes=9), full.state_dict())
        mine, given = bare.state_dict(), full.state_dict()
        assert all(torch.equal(mine[name], given[name]) for name in mine)
        assert {n.split(".")[0] for n in given.keys() - mine.keys()} <= {"fc", "classifier"}


def test_pretrained_that_does_not_fit_is_refused_in_one_line() -> None:
    state = resnet18(width=0.25).state_dict()
    with pytest.raises(BadCheckpoint, match="ResNet") as error:
        load_pretrained(resnet18(width=0.5), state)
    assert "\n" not in str(error.value)
    state["layer5.weight"] = torch.zeros(1)
    with pytest.raises(BadCheckpoint, match="layer5"):
        load_pretrained(resnet18(width=0.25), state)


def test_position_embedding_is_resized() -> None:
    small, large = ViT(24, 1, 3, image=(64, 64)), ViT(24, 1, 3, image=(96, 160), num_classes=2)
    before = small.pos_embed.detach().clone()
    load_pretrained(ViT(24, 1, 3, image=(96, 160)), small.state_dict())
    state = {**large.state_dict(), "pos_embed": torch.ones_like(before)}
    load_pretrained(large, state)
    assert large.pos_embed.shape == (1, 1 + 6 * 10, 24)
    assert_close(large.pos_embed.detach(), torch.ones(1, 61, 24))  # a constant stays constant
    assert resize_position(before, (4, 4)) is before
    assert_close(resize_position(before, (6, 10))[:, 0], before[:, 0])
    with pytest.raises(BadCheckpoint, match="5 patches"):
        resize_position(torch.zeros(1, 6, 24), (3, 3))


def test_aspp_rates_and_width_are_arguments() -> None:
    head = ASPPHead(8, 4, rates=(2, 5), width=6)
    dilated = [
        m.dilation[0] for m in head.modules() if isinstance(m, nn.Conv2d) and m.dilation != (1, 1)
    ]
    assert dilated == [2, 5]
    assert head[0].project[0].in_channels == 4 * 6


def test_mtan_meets_odd_sizes() -> None:
    with META:
        network = MTAN(resnet18(width=0.25), {"a": nn.Identity()})
        assert network(torch.zeros(1, 3, 100, 75))["a"].shape == (1, 128, 4, 3)
