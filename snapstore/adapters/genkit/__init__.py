"""Genkit: the store behind the sessions of Genkit's agents.

```python
from snapstore.adapters.genkit import SessionStore

store = SessionStore(snapstore.open("./runs", create=True))
agent = ai.define_agent(name="support", model=model, store=store)      # Genkit Python, genkit.exp
```

`SessionStore` speaks both dialects over one archive: `get_snapshot`, `save_snapshot` and `on_snapshot_status_change` with
the model objects of Genkit Python (extra `genkit`), and `getSnapshot`, `saveSnapshot` and `onSnapshotStateChange` with
plain camelCase dicts, which is what Genkit's JavaScript stores keep. `SnapshotCore` is what both stand on: synchronous,
plain dicts, snapstore's own errors, no genkit.

Promises:

- A save is atomic: its mutator gets what is there and what it returns is there afterwards, at any number of processes. It
  may run more than once, and runs in a thread, so it must be synchronous and free of side effects.
- The newest snapshot of a session is one that no other continues, by `createdAt` read as an instant, ties in the order of
  first saves. A snapshot that names itself as its parent (Genkit JS 1.42 writes such) continues what it continued before.
- A turn is three writes in one round trip and shares with its parent what they have in common; a change of status writes no
  state; a heartbeat is one conditional write. Statuses are data: an unknown one is a status that is not final.
- Ids are data: `../x`, `a/b` and blanks are ids like others where the dialect allows them.

Differs from Genkit's own stores, on purpose:

- A snapshot stays in the session in which it was created; another one is refused (`FAILED_PRECONDITION`) in both dialects.
- What JSON cannot hold is refused (`INVALID_ARGUMENT`), as are mutators that are coroutines.
- A heartbeat is read back exactly by the store that wrote it. Others read the moment of that write, which is later by the
  time the request took: milliseconds as a rule, seconds at most. A beat more than ten seconds off the clock is stored as
  given, at the price of a second write.

Does not: prune (see `snapstore.maintenance`), compute `expired` (the runtime does when it reads), or look for changes when
nobody watches. A watch asks at most every second, and saves through the same store are noticed at once.
"""

from snapstore.adapters.genkit.core import SnapshotCore
from snapstore.adapters.genkit.store import SessionStore

__all__ = ["SessionStore", "SnapshotCore"]
