"""The model as pure functions of arrays: no queue, no SQL, no storage. Serves in the worker, measures in training."""

import sys
from pathlib import Path
from typing import Final

SHIPPED_MODEL: Final = Path(__file__).parents[1] / "models" / "default"
"""The folder of the model that ships."""

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # OpenVINO would import it: no telemetry
