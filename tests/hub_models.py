"""Tiny classifiers of transformers' own classes, saved in folders as the hub has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CLASSES = ["angry", "happy", "neutral", "sad"]
HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}

VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "image_size": 32,
       "patch_size": 8}  # fmt: skip
VIT_PROCESSOR = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "resample": 2,
                 **HALF}  # fmt: skip

SEEING: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "vit": ("ViT", VIT, VIT_PROCESSOR),
    "vit-old": ("ViT", VIT, {"feature_extractor_type": "ViTFeatureExtractor", "size": 32, "resample": 3, **IMAGENET}),
    "deit": ("DeiT", VIT, {"image_processor_type": "DeiTImageProcessor", "size": {"height": 40, "width": 40},
                           "crop_size": {"height": 32, "width": 32}, "do_center_crop": True, "resample": 3,
                           **IMAGENET}),
    "beit": ("Beit", VIT, {"image_processor_type": "BeitImageProcessor", "size": {"height": 32, "width": 32},
                           "do_center_crop": False, "resample": 2, **HALF}),
    "swin": ("Swin", {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2],
                      "window_size": 4}, VIT_PROCESSOR),
    "convnext": ("ConvNext", {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
                 {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 32}, "crop_pct": 0.875,
                  "resample": 3, **IMAGENET}),
    "resnet": ("ResNet", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
               {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 32}, "crop_pct": 0.875,
                "resample": 3, **IMAGENET}),
    "mobilenet": ("MobileNetV2", {"depth_multiplier": 0.35, "image_size": 32},
                  {"image_processor_type": "MobileNetV2ImageProcessor", "size": {"shortest_edge": 36},
                   "crop_size": {"height": 32, "width": 32}, "do_center_crop": True, "resample": 2, **HALF}),
}  # fmt: skip
"""Name -> class prefix in transformers, its sizes, its preprocessor's config."""

PROCESSORS: dict[str, dict[str, Any]] = {kind: preprocessor for kind, (_, _, preprocessor) in SEEING.items()} | {
    "clip": {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 40}, "do_center_crop": True,
             "crop_size": {"height": 32, "width": 32}, "resample": 3, **IMAGENET},
    "siglip": {"image_processor_type": "SiglipImageProcessor", "size": {"height": 32, "width": 32},
               "resample": 3, **HALF},
    "bit": {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 36}, "resample": 3,
            "crop_size": {"height": 32, "width": 32}, **IMAGENET},
    "convnext-large": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}, "resample": 3,
                       **IMAGENET},
    "neither-resized-nor-normalised": {"image_processor_type": "ViTImageProcessor", "size": 32, "resample": 2,
                                       "do_normalize": False, "do_rescale": False},
}  # fmt: skip
"""Configs of image processors."""


def seeing(kind: str, classes: list[str] | None = None, **changes: Any) -> Any:
    """An image classifier with random weights, whose norms are no identities."""
    import torch
    import transformers

    prefix, sizes, _ = SEEING[kind]
    names = CLASSES if classes is None else classes
    config = getattr(transformers, f"{prefix}Config")(**sizes, **changes, id2label=dict(enumerate(names)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return _shaken(getattr(transformers, f"{prefix}ForImageClassification")(config).eval())


def _shaken(network: Any) -> Any:
    import torch

    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        if norms:  # as after training: what each layer is given
            for norm in norms:
                norm.momentum = None
            network.train()(pixel_values=torch.randn(8, 3, 32, 32))
    return network.eval()


def save(network: Any, folder: Path, preprocessor: dict[str, Any] | None, **changes: Any) -> Path:
    """The folder with config (changed), safetensors and, unless None, the preprocessor's config."""
    network.save_pretrained(folder)
    if changes:
        path = folder / "config.json"
        told = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({key: value for key, value in told.items() if value is not None}))
    if preprocessor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


def save_seeing(kind: str, folder: Path, classes: list[str] | None = None, **changes: Any) -> Path:
    """A folder of the hub with a tiny image classifier."""
    return save(seeing(kind, classes), folder, SEEING[kind][2], **changes)


def save_hearing(
    kind: str, folder: Path, preprocessor: dict[str, Any] | None = None, classes: list[str] | None = None,
    **changes: Any,
) -> Path:  # fmt: skip
    """A folder of the hub with a tiny audio classifier; `changes` of the config's sizes."""
    import speech_models

    names = CLASSES if classes is None else classes
    told = {"id2label": dict(enumerate(names)), "classifier_proj_size": 12, **changes}
    network = speech_models.model(kind, "ForSequenceClassification", **told)
    return speech_models.save(network, folder, preprocessor or {"do_normalize": True})


def save_emotieffnet(folder: Path, name: str) -> Path:
    """An ONNX file of random numbers with the input and output names and widths of EmotiEffLib's."""
    import onnx_factory

    from affectkit import plugins

    description = plugins.get("models", name).description
    columns, side = len(description.card().columns), description.image.size
    path = folder / f"{name}.onnx"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(onnx_factory.Pooled(columns).file(("batch_size", 3, side, side)))
    return path


def attributes_network(**changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Config and tensors of a tiny model as 3loi/SER-Odyssey-Baseline-WavLM-Multi-Attributes has them."""
    import speech_models
    import torch

    wavlm = speech_models.model("wavlm-stable", conv_bias=False, max_bucket_distance=800)
    width, draw = wavlm.config.hidden_size, torch.Generator().manual_seed(3)

    def tensor(*shape: int) -> Any:
        return torch.randn(shape, generator=draw) / shape[-1] ** 0.5

    tensors = {speech_models.old_name(f"ssl_model.{name}"): value for name, value in wavlm.state_dict().items()}
    tensors |= {
        "pool_model.sap_linear.weight": tensor(width, width), "pool_model.sap_linear.bias": tensor(width),
        "pool_model.attention": tensor(width, 1),
        "ser_model.fc.0.0.weight": tensor(width, 2 * width), "ser_model.fc.0.0.bias": tensor(width),
        "ser_model.fc.0.1.weight": 1 + tensor(width), "ser_model.fc.0.1.bias": tensor(width),
        "ser_model.out.0.weight": tensor(3, width), "ser_model.out.0.bias": tensor(3),
    }  # fmt: skip
    config = {
        "model_type": "ser", "architectures": ["SERModel"], "auto_map": {"AutoConfig": "pipeline_utils.SERConfig"},
        "classifier_dropout_prob": 0.5, "classifier_hidden_layers": 1, "hidden_size": width,
        "id2label": {"0": "arousal", "1": "dominance", "2": "valence"}, "mean": -0.0003, "std": 0.08,
        "num_attention_heads": wavlm.config.num_attention_heads, "num_classes": 3,
        "num_hidden_layers": wavlm.config.num_hidden_layers, "sampling_rate": 16000,
        "ssl_type": "microsoft/wavlm-large",
    }  # fmt: skip
    return config | changes, tensors


def save_attributes(folder: Path, **changes: Any) -> Path:
    """Its folder."""
    from safetensors.torch import save_file

    config, tensors = attributes_network(**changes)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return folder
