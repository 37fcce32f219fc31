"""The networks that tests and benchmarks share; every one has a small size for tests and a full size to measure.

``load("resnet50")`` is the full size, ``load("resnet50", full=False)`` the small one.
"""

from collections.abc import Callable

from benchmarks.zoo import plain, sequence, vision
from benchmarks.zoo.model import Inputs, Model

__all__ = ["NAMES", "Inputs", "Model", "load"]

_ENTRIES: dict[str, Callable[[bool], Model]] = {
    "resnet50": vision.resnet50,
    "mobilenetv2": vision.mobilenetv2,
    "mobilenetv2-tf": vision.mobilenetv2_tf,
    "vit": vision.vit,
    "bert": sequence.bert,
    "gpt2": sequence.gpt2,
    "convnext": vision.convnext,
    "segformer": vision.segformer,
    "whisper": sequence.whisper,
    "unet": plain.unet,
    "yolo": plain.yolo,
    "lstm": plain.lstm,
    "sentences": sequence.sentences,
}
NAMES = tuple(_ENTRIES)


def load(name: str, *, full: bool = True) -> Model:
    """The zoo's model ``name``.

    Raises:
        ValueError: no model has that name; the message lists those there are.
    """
    if name not in _ENTRIES:
        raise ValueError(f"no model {name!r} in the zoo; there are: {', '.join(NAMES)}")
    return _ENTRIES[name](full)
