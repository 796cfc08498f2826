"""Scan: fields of many states as Arrow record batches.

Purpose: pull `messages[*].role`, `cost` or `messages[-1].content` out of thousands of snapshots for analysis, reading the
chunks that hold them and no others. `scan` plans; what it returns tells what it will cost, can be iterated here, or be
split into tasks that a cluster of other programs executes.

Promises: no byte of a pack is fetched twice as long as the budget of memory holds, and a pack that neighbours share is
decoded once for all of them; every chunk and node is verified against its digest; memory is bounded by budgets, one value
and one batch of rows, whatever the number of snapshots; all tasks of one scan have the same schema.

Does not: decide which snapshots (lists and the index do), write anything, or interpret a state beyond paths into it.
"""
