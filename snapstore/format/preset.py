"""The preset: text that every reader and writer of format 1 knows, so that small frames need not repeat it.

Every frame is compressed with these bytes as a raw-content zstd dictionary (`zstd -D`). A register is a third
smaller for it, a meta frame a tenth; large frames do without it. The bytes are part of the format:
`manifests/preset-1.txt` holds them, SPEC.md names their digest, and a test compares the three. They never change;
another preset would be another format version.
"""

from __future__ import annotations

from typing import Final

__all__ = ["PRESET"]

PRESET: Final = (
    b'{"created_at":17,"digest":"","format":1,"graph":"","id":"","kind":"manifest","metadata":"{}","node":null,'
    b'"parents":[],"root":{"digest":"","kind":"leaf","length":},"run":""}'
    b'{"created_at":17,"digest":"","format":1,"graph":"default","id":"","kind":"manifest","metadata":"{\\"","node":"",'
    b'"parents":[{"digest":"","id":""}],"root":{"digest":"","kind":"node","length":},"run":""}'
    b'{"closure":{},"created_at":17,"deleted":true,"digest":"","epoch":0,"format":1,"graph":"","id":"",'
    b'"kind":"register","manifest":null,"metadata":"{}","node":null,"parents":[""],"prevs":[],"recent":["",""],"run":"",'
    b'"size_bytes":0,"status":"failed","stored_bytes":0,"txid":"","updated_at":17,"version":2}'
    b'{"closure":{"packs/":[[1,"",,8,],[2,"",,8,]],"runs/":[[1,"fe5e0",,8,],[2,"fe5e0",,8,]]},"created_at":17,'
    b'"deleted":false,"digest":"","epoch":0,"format":1,"graph":"","id":"","kind":"register",'
    b'"manifest":{"digest":"","offset":,"pack":,"root":{"digest":"","kind":"leaf","place":[,8,,0,]},"size":},'
    b'"metadata":"{}","node":"","parents":[""],"prevs":[],"recent":[""],"run":"","size_bytes":,"status":"running",'
    b'"stored_bytes":,"txid":"","updated_at":17,"version":1}'
    b'"],"run":"","size_bytes":,"status":"completed","stored_bytes":,"txid":"","updated_at":17,"version":1}'
    b'{"closure":{"runs/":[[1,"fe5e04a0-000000000000-",8,'
)
"""Fragments of the documents, the commonest last: matches near the end cost the fewest bits."""
