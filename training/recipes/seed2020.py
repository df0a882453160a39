"""The 2020 study's set-up: its five-convolution network at 200 x 200, 25 epochs of RMSprop, no augmentation.

The study reported 93 % accuracy on its test set (89/300/300 films) and 90.64 % in 5-fold cross-validation. Run
once here (22 November 2026, 31 min on two busy CPU cores): test accuracy .898 [.874-.919], n 689, macro F1 .883; on
test_adult .500, n 200, with 3 % of the healthy adults called normal: the study's gap, reproduced.

It differs from the study in the validation films taken out of `train` by group, in its random draws, and in its
input: one grey channel repeated to three.
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
    is_cross_validated=True,
    seed=2020,
)
