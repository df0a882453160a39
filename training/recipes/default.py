"""What ships: EfficientNet-Lite0 from ImageNet, its last five blocks tuned on children's and adults' films."""

from __future__ import annotations

from typing import Final

from training.recipe import Recipe

RECIPE: Final = Recipe(
    name="default",
    architecture="lite0",
    train_splits=("train", "extra", "extra2"),
    report_splits=("test", "test_adult", "external", "ood"),
    validation_share=0.12,
    pretrained="weights/efficientnet_lite0_imagenet.npz",
    pretrained_sha256="69bfffbf0fe5c9df51d79e6f4dc01e334d80e59fb8b470dbdd0c80d357f2f6b8",
    frozen_until="block10_add",
    train_batch_norm=False,
    copies=3,
    balance="pool",
    epochs=8,
    batch=32,
    optimizer="adamw",
    learning_rate=5e-4,
    weight_decay=0.02,
    label_smoothing=0.05,
    coverage=0.92,
    seed=2020,
)
