"""Backbones and heads of the papers, as plain `nn.Module`s that have never heard of gates."""

from __future__ import annotations

from igc.models.aspp import ASPPHead as ASPPHead
from igc.models.cross_stitch import CrossStitch as CrossStitch
from igc.models.dpt import DPTHead as DPTHead
from igc.models.dpt import dpt_base_encoder as dpt_base_encoder
from igc.models.dpt import dpt_small_encoder as dpt_small_encoder
from igc.models.heads import HRNetHead as HRNetHead
from igc.models.heads import LinearHead as LinearHead
from igc.models.hrnet import HRNet as HRNet
from igc.models.hrnet import hrnet_w18 as hrnet_w18
from igc.models.mobilenet import MobileNetV2 as MobileNetV2
from igc.models.mobilenet import mobilenet_v2 as mobilenet_v2
from igc.models.mtan import MTAN as MTAN
from igc.models.multitask import Branched as Branched
from igc.models.multitask import SingleTaskNetworks as SingleTaskNetworks
from igc.models.multitask import UniformSharing as UniformSharing
from igc.models.multitask import split_after as split_after
from igc.models.nddr import NDDR as NDDR
from igc.models.pretrained import load_pretrained as load_pretrained
from igc.models.psp import PSPHead as PSPHead
from igc.models.resnet import ResNet as ResNet
from igc.models.resnet import resnet18 as resnet18
from igc.models.resnet import resnet34 as resnet34
from igc.models.resnet import resnet50 as resnet50
from igc.models.vgg import VGG16 as VGG16
from igc.models.vit import ViT as ViT
from igc.models.vit import gated_layers as gated_layers
from igc.models.vit import vit_base as vit_base
from igc.models.vit import vit_small as vit_small
