"""A long run at half load that watches memory and file descriptors: `python -m tests.soak`."""
