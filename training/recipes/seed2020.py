"""The 2020 study's set-up: its five-convolution network at 200 x 200, 25 epochs of RMSprop, no augmentation."""

from __future__ import annotations

from typing import Final

from training.recipe import Recipe

RECIPE: Final = Recipe(
    name="seed2020",
    architecture="seed2020",
    preprocessing="grey_scale_v1",
    train_splits=("train",),
    report_splits=("test", "test_adult", "external", "ood"),
    validation_share=0.12,
    epochs=25,
    batch=32,
    optimizer="rmsprop",
    learning_rate=1e-3,
    choose="last",
    seed=2020,
)
