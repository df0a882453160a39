"""The memory budget of uploads: how many bytes of request bodies a web process holds at a time. Knows no Flask."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from shared.errors import UploadsFull


@dataclass(slots=True)
class Budget:
    """The bytes that request bodies hold in a process.

    Attributes:
        limit_bytes: of all bodies together.
        largest_bytes: of one film; refusals name it.
        held_bytes: taken now.
    """

    limit_bytes: int
    largest_bytes: int
    held_bytes: int = 0
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def take(self, size_bytes: int) -> None:
        """Reserve the bytes of a body before it is read.

        Raises:
            UploadsFull: the budget has too little left now.
        """
        with self._guard:
            if self.held_bytes + size_bytes > self.limit_bytes:
                raise UploadsFull("The service is taking in as many uploads as it can; send it again in a moment.")
            self.held_bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Release the bytes of a body that is no longer held."""
        with self._guard:
            self.held_bytes -= size_bytes
