"""Pure functions of arrays: no queue, no SQL, no storage. Used by the worker to serve and by training to measure."""

import sys
from pathlib import Path
from typing import Final

SHIPPED_MODEL: Final = Path(__file__).parents[1] / "models" / "default"
"""The folder of the model that ships."""

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # OpenVINO would load it: nothing calls home
