"""Derives the weights of `shared/imaging/polarity.py` from training films; by hand, when they have to change.

python -m training.polarity ../shared/data
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from shared.arrays import FloatArray
from shared.imaging.polarity import SIDE, thumbnail
from shared.imaging.preprocess import squash, window
from training.dataset import read_film
from training.recipes import find_recipe
from training.splits import prepare

SIDE_PX: Final = 224
INVERSE_PENALTY: Final = 0.01


def fit_polarity(thumbnails: FloatArray) -> npt.NDArray[np.int64]:
    """Return weights (8, 8) in hundredths that tell thumbnails (N, 8, 8) of films from their negatives.

    They are of a logistic regression without an intercept on thumbnails of unit spread and their mirror images. A film
    and its negative differ in sign only, so the sign of the weighted sum is the answer.
    """
    films = np.concatenate([thumbnails, thumbnails[:, :, ::-1]]).reshape(2 * len(thumbnails), -1)
    films = films / np.maximum(films.std(axis=1, keepdims=True), 1e-6)
    classifier = LogisticRegression(C=INVERSE_PENALTY, fit_intercept=False, max_iter=500)
    classifier.fit(np.concatenate([films, -films]), np.repeat([1, 0], len(films)))
    return np.rint(100 * classifier.coef_[0]).astype(np.int64).reshape(SIDE, SIDE)


def main(data: Path) -> None:
    """Print the weights learned from the default recipe's training films."""
    films = prepare(find_recipe("default"), data).train
    thumbnails = np.stack([thumbnail(window(squash(read_film(f.path), SIDE_PX, SIDE_PX))) for f in films])
    sys.stdout.write(f"{fit_polarity(thumbnails).tolist()}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
