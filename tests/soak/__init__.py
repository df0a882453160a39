"""A long run at half load that watches memory, threads and file descriptors: `python -m tests.soak`."""
