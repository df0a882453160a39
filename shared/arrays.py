"""Types of pixel and number arrays, in a module of their own: numpy takes 16 MB of each process that imports it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
FloatArray = npt.NDArray[np.float32]
