"""The storage room: moves bytes under keys and knows nothing of what they mean.

For: one small protocol (`Storage`) over memory, local disks, object stores (obstore) and any fsspec file system, plus
wrappers that count (`Meter`), retry (`Retry`), shift keys below a prefix (`Prefixed`), and a `probe` that finds out by
trying what a storage really promises.

Promises:

- A write is whole or absent, and visible to every reader once it returned; create-if-absent and replace-if-unchanged
  have exactly one winner among any number of rivals. Pinned for every backend by `snapstore.testing.StorageContract`.
- Every failure arrives as a class of `snapstore.errors`, with a code, a hint, and without secrets.
- `import snapstore.storage` loads no third-party package but blake3; obstore, fsspec and boto3 are imported by the
  first storage that needs them.

Does not: check digests, cache, compress, or know the layout of an archive. It does not import `snapstore.format`.

```python
from snapstore.storage import connect
storage = connect("s3://bucket/agents")
storage.put_create("greeting", b"hello")
```
"""

from __future__ import annotations

from snapstore.storage.connect import connect
from snapstore.storage.memory import MemoryStorage
from snapstore.storage.meter import Meter, Usage
from snapstore.storage.parallel import parallel
from snapstore.storage.prefixed import Prefixed
from snapstore.storage.probe import ProbeResult, endpoint, probe
from snapstore.storage.protocol import ObjectInfo, Storage, Stored
from snapstore.storage.retry import Retry
from snapstore.storage.single_writer import SingleWriter
from snapstore.storage.wrapper import ReadOnlyStorage

__all__ = [
    "MemoryStorage",
    "Meter",
    "ObjectInfo",
    "Prefixed",
    "ProbeResult",
    "ReadOnlyStorage",
    "Retry",
    "SingleWriter",
    "Storage",
    "Stored",
    "Usage",
    "connect",
    "endpoint",
    "parallel",
    "probe",
]
