"""The cupboard: films as stored bytes."""
