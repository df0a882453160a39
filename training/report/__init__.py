"""The report on one model: all measurements as one document, and the card and page made from it."""
