"""The exported test suites: what a storage of your own must do to carry an archive.

For: anybody who writes a backend, or who wants to know whether a server at hand is good enough. The same suites hold
snapstore's own backends. They need pytest (`pip install 'snapstore[test]'`) and import the storage room and the errors only.

```python
import pytest
from snapstore.testing import StorageContract

class TestMyStorage(StorageContract):
    @pytest.fixture
    def storage(self):
        return MyStorage(...)      # empty, and its own for every test
```

Promises: every test names one behaviour that snapstore relies on; a backend that passes all of them needs no further
knowledge of snapstore. Does not: measure speed, or test faults such as power loss, which no suite can cause from outside.
Nothing in snapstore imports this package.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("snapstore.testing.storage_contract", "snapstore.testing.storage_races")

from snapstore.testing.storage_contract import StorageContract  # noqa: E402 - rewriting must be asked for before the import

__all__ = ["StorageContract"]
