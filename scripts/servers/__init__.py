"""S3-compatible servers on loopback, for the tests: what each is, where it comes from, what it showed.

A *kind* (`kinds.py`) is a server that can be started: it names a *source* (`sources.py`: packages of PyPI in their own virtual
environment, a Go module, Debian packages) and knows how to start itself (`recipes.py`, `ceph.py`, `swift.py`) as children of
the launcher (`processes.py`). `s3_request.py` signs the requests the launcher itself makes: is it there, create the bucket.
Everything is the standard library, so `scripts/s3_server.py` runs on a bare Python 3.11.

Promises: every server listens on 127.0.0.1 only (MinIO on ::1 too), on ports that were free, with its data in one temporary
folder, and none outlives the launcher (on Linux not even one that is killed). What it does not do: keep data, speak TLS, or
replace the server's own guide.

What each kind is for, and what was measured on it (a race: 16 writers of one name at once, 25 rounds):

| kind | source | conditional writes |
|---|---|---|
| moto | PyPI | right, once its writes stand behind one lock (`moto_app.py`): without it, one race in 2,400 had two winners |
| ministack | PyPI | right |
| versitygw | Go module | right; a real gateway over a folder, the one to run in CI: built in 3 minutes, ready in half a second |
| minio | Go module | right; built in 9 minutes on two busy cores |
| ceph | Debian packages | If-Match only with the ETag unquoted (as DigitalOcean Spaces); most losers of a race get 500, not 412 |
| rclone | PyPI | ignored, 14 to 16 of 16 win: several writers must be refused |
| swift | PyPI | If-None-Match right one after the other, up to 13 of 16 win a race; If-Match is 501: must be refused |
| seaweedfs | Go module | unknown, see below |

Other behaviour that a storage must live with:

- If-Match on a name that does not exist: 404 from moto, ministack, versitygw and MinIO, 412 from Ceph.
- rclone answers a range request with status 200 and a right Content-Range; obstore refuses that answer.
- The last n bytes of an empty object: 416 from Ceph and rclone, `Content-Range: bytes 0--1/0` from MinIO and ministack.
- Names are paths on versitygw, rclone and MinIO: beside `a/b`, versitygw and rclone refuse `a/b/c`, and MinIO stores it but
  leaves it out of listings.

What was tried and could not be had:

- seaweedfs: `go install github.com/seaweedfs/seaweedfs/weed@latest` was refused where this was written (the Go module proxy
  answered "403 Forbidden: This module version is not available"); Debian 12 and PyPI do not carry it. Its recipe follows the
  flags in its source (`weed/command/server.go`) and has never been run.
- localstack: 4.5.0 needs four pins by hand on Python 3.11 and listens on every address in spite of GATEWAY_LISTEN.
- s3rver (npm): ignores preconditions and answers 500 to a listing of 1,200 keys; rclone covers that case.
- Debian 12 has no package of MinIO, Garage, versitygw or RustFS; its Go (1.19) is too old to build any of them.
"""
