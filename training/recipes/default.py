"""The recipe of the model that ships: EfficientNet-Lite0 from ImageNet, its last eleven blocks fine-tuned on films.

The films are of children and adults.

Expected, as measured once on 2026-11-28 on 2 CPU cores (intervals in MODEL_CARD.md): validation 0.975 (n 597 of 709),
test 0.965 (n 689), test_adult 0.945 (n 200), external 0.827 (n 503 of 587, balanced 0.850); of 121 films with other
findings (ood) 9.1 % got a verdict. Time: 19 minutes. The weights that ship are that run's; a second run on the
same machine gave the same bytes. What was tried and what decided: DECISIONS 13, 14, 19 and 27.
"""

from __future__ import annotations

from typing import Final

from training.recipe import Augmentation, Recipe

RECIPE: Final = Recipe(
    name="default",
    architecture="lite0",
    preprocessing="grey_window_v2",
    other_label="other_finding",
    gate_layer="block10_add",
    train_splits=("train", "extra", "extra2"),
    report_splits=("test", "test_adult", "external", "ood"),
    validation_share=0.12,
    pretrained="weights/efficientnet_lite0_imagenet.npz",
    pretrained_sha256="69bfffbf0fe5c9df51d79e6f4dc01e334d80e59fb8b470dbdd0c80d357f2f6b8",
    frozen_until="block04_add",
    train_batch_norm=False,
    copies=7,
    learns_originals=False,
    augmentation=Augmentation(crop=0.14, sharpen=1.0, jpeg_quality=(30, 95), framed_share=0.4),
    balance="shares",
    pool_shares={"covA": 0.5, "covB": 0.5, "kermany_bacteria": 0.5, "tb": 0.5},
    epochs=12,
    batch=32,
    optimizer="adamw",
    learning_rate=1.5e-4,
    weight_decay=0.02,
    label_smoothing=0.05,
    choose="best",
    calibration_copies=1,
    coverage=0.92,
    other_verdicts=0.03,
    seed=2020,
)
