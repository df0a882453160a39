"""The report on one model: everything that was measured, as one document, and what people read of it."""
