"""plainfilm beside its peers on this machine: `make bench`, `make bench QUICK=1`, `make bench-scale`."""
