"""Pure functions of arrays: no queue, no SQL, no storage. Used by the worker to serve and by training to measure."""
