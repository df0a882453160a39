"""Which plainfilm this is: stored with each result, since another version may conclude otherwise."""

from __future__ import annotations

import importlib.metadata
from typing import Final

CODE_VERSION: Final = importlib.metadata.version("plainfilm")
