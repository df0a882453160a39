"""Types of pixel and number arrays. A module of its own, since numpy takes 16 MB in every process that imports it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
FloatArray = npt.NDArray[np.float32]
