"""The benchmark's parts: what is measured (`case_*`), against what (`baselines`), on what (`states`), how (`measure`).

Every figure is a ratio against a baseline of the same run on the same machine, so that a number means the same on a
laptop and on a busy server. Times are CPU time (user and system, all threads), because a shared machine makes wall time mean
little; peak memory is that of a process that does nothing else.

What it does not do: judge correctness (the tests do), or send anything over a network. `scripts/bench.py` is the door.
"""
