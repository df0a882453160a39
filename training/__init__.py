"""The workshop: from labelled films to a model that `worker.engine` can serve."""
