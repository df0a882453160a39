"""Synthetic films and a network of 1,563 parameters: a whole run in seconds, for tests and a first look."""

from __future__ import annotations

from typing import Final

from training.recipe import Augmentation, Recipe

RECIPE: Final = Recipe(
    name="tiny",
    architecture="tiny",
    manifest="manifest.csv",
    drawn_films=40,
    train_splits=("train",),
    report_splits=("test",),
    validation_share=0.25,
    copies=1,
    augmentation=Augmentation(crop=0.05, rotate_degrees=3.0, resample_px=(48, 64)),
    balance="label",
    epochs=20,
    batch=16,
    learning_rate=2e-2,
    coverage=0.9,
    seed=7,
)
