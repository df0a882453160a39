"""Pure functions of arrays: no queue, no SQL, no storage. Used by the worker to serve and by training to measure."""

import sys

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # OpenVINO would load it: nothing calls home
