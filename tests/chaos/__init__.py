"""The chaos harness: a whole service under random kills, and a checker that says whether its promise held.

`python -m tests.chaos --jobs 300 --seed 1` runs it; `__main__` says how. Nothing here is a test by itself:
`tests/unit/chaos` shows that the checker finds faults, `tests/integration/test_chaos.py` runs small trials.
"""
