"""Image networks from transformers configurations, with random seeded weights."""

from collections.abc import Callable
from typing import Any

from torch import nn
from transformers import (
    ConvNextConfig,
    ConvNextForImageClassification,
    MobileNetV2Config,
    MobileNetV2ForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    ViTConfig,
    ViTForImageClassification,
)

from benchmarks.zoo.model import BATCH, Model, image, seeded

DYNAMIC_BATCH: dict[str, Any] = {"pixel_values": {0: BATCH}}


def _of_images(
    name: str, network: Callable[[], nn.Module], side: int, dynamic_shapes: dict[str, Any] | None = DYNAMIC_BATCH
) -> Model:
    return Model(name, lambda: seeded(network()), image(3, side), dynamic_shapes=dynamic_shapes)


def resnet50(full: bool) -> Model:
    """ResNet-50 on 224 x 224; small: four stages of one bottleneck each on 64 x 64."""
    small: dict[str, Any] = {"embedding_size": 16, "hidden_sizes": [32, 48, 64, 96], "depths": [1, 1, 1, 1]}
    config = ResNetConfig(**({"num_labels": 1000} if full else small))
    return _of_images("resnet50", lambda: ResNetForImageClassification(config), 224 if full else 64)


def mobilenetv2(full: bool) -> Model:
    """MobileNetV2 1.0 on 224 x 224, padded alike on both sides; small: a quarter of the channels on 64 x 64."""
    config = _mobilenetv2(full, tf_padding=False)
    return _of_images("mobilenetv2", lambda: MobileNetV2ForImageClassification(config), 224 if full else 64)


def mobilenetv2_tf(full: bool) -> Model:
    """MobileNetV2 with TensorFlow's padding: explicit, one pixel more at the end where the stride is 2."""
    config = _mobilenetv2(full, tf_padding=True)
    return _of_images("mobilenetv2-tf", lambda: MobileNetV2ForImageClassification(config), 224 if full else 64, None)


def _mobilenetv2(full: bool, *, tf_padding: bool) -> MobileNetV2Config:
    size: dict[str, Any] = {"num_labels": 1000} if full else {"depth_multiplier": 0.25, "num_labels": 10}
    return MobileNetV2Config(tf_padding=tf_padding, **size)


def vit(full: bool) -> Model:
    """ViT-B/16 on 224 x 224; small: two layers of width 32 on 32 x 32."""
    small: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "image_size": 32,
        "patch_size": 8,
    }
    config = ViTConfig(**({"num_labels": 1000} if full else small))
    return _of_images("vit", lambda: ViTForImageClassification(config), 224 if full else 32)


def convnext(full: bool) -> Model:
    """ConvNeXt-tiny on 224 x 224; small: one block a stage on 64 x 64."""
    small: dict[str, Any] = {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 1, 1]}
    config = ConvNextConfig(**({"num_labels": 1000} if full else small))
    return _of_images("convnext", lambda: ConvNextForImageClassification(config), 224 if full else 64)


def segformer(full: bool) -> Model:
    """SegFormer-b0 with its decoder on 512 x 512; small: one layer a stage on 64 x 64."""
    small: dict[str, Any] = {
        "hidden_sizes": [8, 16, 24, 32],
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 2, 3, 4],
        "decoder_hidden_size": 16,
    }
    config = SegformerConfig(**({"num_labels": 150} if full else small))
    return _of_images("segformer", lambda: SegformerForSemanticSegmentation(config), 512 if full else 64)
