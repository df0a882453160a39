"""Two sandboxes as one decoder: DICOM films have one of their own, which starts with the first of them.

Its libraries take memory that PNG and JPEG never need (DECISIONS 59). Four bytes identify a DICOM; nothing else of an
upload is inspected here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from shared.domain import Film
from shared.imaging.decode import is_dicom
from shared.imaging.decoder_client import DECODER_COMMAND
from shared.imaging.sandbox import Sandbox

DICOM_COMMAND: Final = (*DECODER_COMMAND[:-1], "shared.imaging.dicom_process")


class Decoders:
    """Reads PNG, JPEG and DICOM; see `Sandbox`.

    Args:
        workers: films decoded at once by each of the two; the number of processors by default.
        command, dicom_command: the command that starts each; tests give others.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        command: Sequence[str] = DECODER_COMMAND,
        dicom_command: Sequence[str] = DICOM_COMMAND,
    ) -> None:
        self._usual = Sandbox(workers=workers, command=command)
        self._dicom = Sandbox(workers=workers, command=dicom_command)

    def start(self) -> None:
        """Let the decoder of PNG and JPEG load its libraries; that of DICOM waits for its first film."""
        self._usual.start()

    def decode(self, data: bytes, tenant: str | None = None, sha256: str | None = None) -> Film:
        """Decode an upload as `Sandbox.decode` does."""
        return (self._dicom if is_dicom(data) else self._usual).decode(data, tenant, sha256)

    def close(self) -> None:
        """End both decoders."""
        self._usual.close()
        self._dicom.close()
