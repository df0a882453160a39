"""The 2020 study's set-up: its five-convolution network at 200 x 200, 25 epochs of RMSprop, no augmentation.

The study reported 93 % accuracy on its test set (89/300/300 films) and 90.64 % in 5-fold cross-validation. This recipe
has not been run in full here, so there is no number of ours to expect. It differs from the study in the validation
films taken out of `train` by group, in its random draws, and in its input: one grey channel repeated to three.
"""

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
