"""Image networks from transformers configurations, with random seeded weights."""

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

DYNAMIC_BATCH = {"pixel_values": {0: BATCH}}


def resnet50(full: bool) -> Model:
    """ResNet-50 on 224 x 224; small: four stages of one bottleneck each on 64 x 64."""
    small = {"embedding_size": 16, "hidden_sizes": [32, 48, 64, 96], "depths": [1, 1, 1, 1], "num_labels": 10}
    config = ResNetConfig(**({"num_labels": 1000} if full else small))
    return Model(
        "resnet50",
        lambda: seeded(ResNetForImageClassification(config)),
        image(3, 224 if full else 64),
        dynamic_shapes=DYNAMIC_BATCH,
    )


def mobilenetv2(full: bool) -> Model:
    """MobileNetV2 1.0 on 224 x 224, padded alike on both sides; small: a quarter of the channels on 64 x 64."""
    return _mobilenetv2("mobilenetv2", full, tf_padding=False)


def mobilenetv2_tf(full: bool) -> Model:
    """MobileNetV2 with TensorFlow's padding: explicit, and one pixel more at the end where the stride is 2."""
    return _mobilenetv2("mobilenetv2-tf", full, tf_padding=True)


def _mobilenetv2(name: str, full: bool, tf_padding: bool) -> Model:
    size = {"num_labels": 1000} if full else {"depth_multiplier": 0.25, "num_labels": 10}
    config = MobileNetV2Config(tf_padding=tf_padding, **size)
    return Model(
        name,
        lambda: seeded(MobileNetV2ForImageClassification(config)),
        image(3, 224 if full else 64),
        dynamic_shapes=DYNAMIC_BATCH,
    )


def vit(full: bool) -> Model:
    """ViT-B/16 on 224 x 224; small: two layers of width 32 on 32 x 32."""
    small = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "image_size": 32,
        "patch_size": 8,
        "num_labels": 10,
    }
    config = ViTConfig(**({"num_labels": 1000} if full else small))
    return Model(
        "vit",
        lambda: seeded(ViTForImageClassification(config)),
        image(3, config.image_size),
        dynamic_shapes=DYNAMIC_BATCH,
    )


def convnext(full: bool) -> Model:
    """ConvNeXt-tiny on 224 x 224; small: one block a stage on 64 x 64."""
    small = {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 1, 1], "num_labels": 10}
    config = ConvNextConfig(**({"num_labels": 1000} if full else small))
    return Model(
        "convnext",
        lambda: seeded(ConvNextForImageClassification(config)),
        image(3, 224 if full else 64),
        dynamic_shapes=DYNAMIC_BATCH,
    )


def segformer(full: bool) -> Model:
    """SegFormer-b0 with its decoder on 512 x 512; small: one layer a stage on 64 x 64."""
    small = {
        "hidden_sizes": [8, 16, 24, 32],
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 2, 3, 4],
        "decoder_hidden_size": 16,
        "num_labels": 5,
    }
    config = SegformerConfig(**({"num_labels": 150} if full else small))
    return Model(
        "segformer",
        lambda: seeded(SegformerForSemanticSegmentation(config)),
        image(3, 512 if full else 64),
        dynamic_shapes=DYNAMIC_BATCH,
    )
