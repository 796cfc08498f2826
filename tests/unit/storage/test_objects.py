"""Object stores that misbehave, through both doors: every fault has a clear error, in time, and without secrets.

Method: a small server in this process that answers as it is told; moto where a real refusal is wanted.
"""

from __future__ import annotations

import os
import socket
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from snapstore import clock
from snapstore.errors import ConflictError, CorruptionError, InvalidInputError, NotFoundError, SnapstoreError, StorageError
from snapstore.storage import Storage, connect, probe
from snapstore.storage.probe import innermost
from tests.servers import Endpoint
from tests.unit.storage import fake_server
from tests.unit.storage.fake_server import DATE_S, FakeServer, cut_off, lost, raw, stall, status

SECRET = "topsecret-topsecret"
OPTIONS = {"key": "AKIAKEY", "secret": SECRET, "token": "secrettoken"}
DOORS = ["s3", "fsspec+s3"]


@pytest.fixture(scope="module")
def running() -> Iterator[FakeServer]:
    with fake_server.running() as server:
        yield server


@pytest.fixture
def server(running: FakeServer) -> FakeServer:
    """A server of this test's own, as far as it can tell."""
    running.reset()
    return running


@pytest.fixture(scope="module")
def filesystem(running: FakeServer) -> Any:
    """A file system as `connect` makes it; making one takes 0.3 s."""
    options = {**OPTIONS, "endpoint_url": running.url}
    return innermost(connect("fsspec+s3://bucket", storage_options=options, timeout_s=5))._fs  # type: ignore[attr-defined]


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def storage(server: FakeServer, door: str, request: pytest.FixtureRequest) -> Storage:
    if door != "s3":
        return connect("bucket/p", filesystem=request.getfixturevalue("filesystem"), timeout_s=5)
    return connect(f"{door}://bucket/p", storage_options={**OPTIONS, "endpoint_url": server.url}, timeout_s=5)


@pytest.fixture
def backend(storage: Storage) -> Storage:
    """The storage without retries."""
    return innermost(storage)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "sleep", lambda _: None)


def refused_by(call: Callable[[], object]) -> StorageError:
    """Return the storage error that a call ends in, after looking for secrets in all of it."""
    with pytest.raises(StorageError) as caught:
        call()
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value.context)
    for secret in (SECRET, "secrettoken", "Signature="):
        assert secret not in shown
    return caught.value


class TestAnswers:
    @pytest.mark.parametrize(
        ("fault", "code", "retryable", "word"),
        [
            (status(403, "InvalidAccessKeyId"), "credentials_invalid", False, "profile"),
            (status(403, "SignatureDoesNotMatch"), "credentials_invalid", False, "profile"),
            (status(400, "ExpiredToken"), "credentials_invalid", False, "log in again"),
            (status(403, "RequestTimeTooSkewed"), "credentials_invalid", False, "clock"),
            (status(403, "AccessDenied"), "permission_denied", False, "allow"),
            (status(404, "NoSuchBucket"), "container_not_found", False, "create it first"),
            (status(400, "AuthorizationHeaderMalformed"), "wrong_region", False, "AWS_REGION"),
            (status(500, "InternalError"), "storage_unavailable", True, ""),
            (status(503, "SlowDown"), "storage_unavailable", True, ""),
            (status(429, "TooManyRequests"), "storage_unavailable", True, ""),
            (status(507, "InsufficientStorage"), "storage_full", False, "free"),
            (status(501, "NotImplemented"), "not_implemented", False, ""),
            (status(400, "InvalidArgument"), "storage_error", False, ""),
            (raw(404, b"<html>nginx</html>"), "unexpected_answer", False, "endpoint"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_what_they_mean(  # noqa: PLR0917 - pytest passes them by name
        self, server: FakeServer, backend: Storage, fault: Any, code: str, retryable: bool, word: str
    ) -> None:
        for call in (lambda: backend.get("a"), lambda: backend.put("a", b"1"), lambda: next(backend.list(""))):
            server.faults = [fault]
            error = refused_by(call)
            assert (error.code, error.retryable) == (code, retryable)
            assert word in (error.hint or "")

    @pytest.mark.parametrize("verb", ["put_create", "put_if"])
    def test_a_missing_bucket_is_no_conflict(self, server: FakeServer, backend: Storage, verb: str) -> None:
        server.faults = [status(404, "NoSuchBucket")]
        arguments = ("a", b"1") if verb == "put_create" else ("a", b"1", '"x"')
        assert refused_by(lambda: getattr(backend, verb)(*arguments)).code == "container_not_found"

    def test_a_conflict_in_flight_is_a_conflict_and_then_tried_again(self, server: FakeServer, storage: Storage) -> None:
        server.faults = [status(409, "ConditionalRequestConflict")]
        version = storage.put_create("a", b"1")
        server.faults = [status(409, "ConditionalRequestConflict")]
        storage.put_if("a", b"2", version)
        assert server.objects["p/a"][0] == b"2"
        with pytest.raises(ConflictError):
            storage.put_create("a", b"3")

    def test_an_answer_that_got_lost(self, server: FakeServer, storage: Storage) -> None:
        server.faults = [lost()]
        version = storage.put_create("a", b"1")
        server.faults = [lost(503)]
        version = storage.put_if("a", b"2", version)
        assert storage.get("a").version == version
        assert [method for method, _, _ in server.requests].count("PUT") == 4

    def test_passing_failures_do_not_show(self, server: FakeServer, storage: Storage) -> None:
        server.faults = [status(503, "SlowDown"), status(500, "InternalError")]
        storage.put("a", b"123")
        server.faults = [cut_off(1), status(500, "InternalError")]
        assert storage.get("a").data == b"123"
        server.faults = [status(503, "SlowDown")]
        assert [row.key for row in storage.list("")] == ["a"]
        server.faults = [status(503, "SlowDown")]
        storage.delete_many(["a"])
        assert server.objects == {}


class TestTransport:
    def test_a_body_that_breaks_off(self, server: FakeServer, backend: Storage) -> None:
        backend.put("a", b"123456")
        server.faults = [cut_off(3)]
        error = refused_by(lambda: backend.get("a"))
        assert (error.code, error.retryable) == ("connection_lost", True)

    def test_an_object_that_is_shorter_than_its_ranges(self, backend: Storage) -> None:
        backend.put("a", b"123456")
        with pytest.raises(CorruptionError):
            backend.get_ranges("a", [(4, 4)])

    def test_an_answer_that_does_not_come(self, server: FakeServer, door: str) -> None:
        config = {"client_options": {"timeout": "200ms"}} if door == "s3" else {"config_kwargs": {"read_timeout": 0.2}}
        storage = connect(f"{door}://bucket", storage_options={**OPTIONS, "endpoint_url": server.url, **config})
        server.faults = [stall(2)]
        error = refused_by(lambda: innermost(storage).get("a"))
        assert (error.code, error.retryable) == ("storage_timeout", True)

    def test_a_wrong_port_is_told_fast(self, door: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()  # with real waiting
        with socket.create_server(("127.0.0.1", 0)) as free:
            url = f"http://127.0.0.1:{free.getsockname()[1]}"
        started_s = clock.monotonic_s()
        storage = connect(f"{door}://bucket", storage_options={**OPTIONS, "endpoint_url": url})
        error = refused_by(lambda: storage.get("a"))
        assert error.code == "endpoint_unreachable"
        assert "endpoint" in str(error.hint)
        assert clock.monotonic_s() - started_s < 10

    def test_an_unknown_host(self, door: str) -> None:
        storage = connect(f"{door}://bucket", storage_options={**OPTIONS, "endpoint_url": "http://nowhere.invalid"})
        assert refused_by(lambda: storage.get("a")).code == "endpoint_unreachable"

    def test_https_where_http_is_spoken(self, server: FakeServer) -> None:
        options = {**OPTIONS, "endpoint_url": server.url.replace("http:", "https:")}
        error = refused_by(lambda: connect("s3://bucket", storage_options=options).get("a"))
        assert (error.code, error.retryable) == ("endpoint_unreachable", False)
        assert "encryption" in str(error)


class TestDialects:
    def test_bare_etags_as_on_ceph(self, server: FakeServer, storage: Storage) -> None:
        server.conditions = "bare"
        result = probe(storage, rounds=2)
        assert result.problems == []
        assert result.etag_style == "unquoted"
        version = storage.put_create("a", b"1")
        assert version.startswith('"')
        storage.put_if("a", b"2", version)
        assert server.requests[-1][2]["if-match"] == version.strip('"')

    def test_ignored_conditions_as_on_rclone(self, server: FakeServer, storage: Storage) -> None:
        server.conditions = "ignored"
        result = probe(storage)
        assert not result.multi_writer
        assert result.single_writer
        assert "create" in result.problems[0]
        assert server.objects == {}

    def test_lost_races_as_on_swift(self, server: FakeServer, storage: Storage) -> None:
        server.conditions = "racy"
        result = probe(storage)
        assert result.create_if_absent
        assert not result.create_race
        assert "racing writers" in result.problems[0]

    def test_a_server_without_ranges(self, server: FakeServer, storage: Storage, door: str) -> None:
        server.ranges = False
        storage.put("a", b"123456")
        if door == "s3":
            assert storage.get_ranges("a", [(1, 2), (-1, 2)]) == [b"23", b"56"]
        else:
            with pytest.raises(CorruptionError):
                storage.get_ranges("a", [(1, 2)])

    def test_weak_etags(self, server: FakeServer, storage: Storage) -> None:
        version = storage.put_create("a", b"1")
        storage.put_if("a", b"2", "W/" + version)
        assert server.objects["p/a"][0] == b"2"

    def test_no_version_is_unsafe(self, backend: Storage) -> None:
        assert refused_by(lambda: backend.put_if("a", b"1", "")).code == "unsafe_storage"

    def test_foreign_objects_are_passed_over(self, server: FakeServer, storage: Storage) -> None:
        for key in ("p/a", "p/folder/", "p/with blank", "p/ü", "p/b", "q"):
            server.objects[key] = (b"1", 1)
        assert [row.key for row in storage.list("") if row.key != "folder"] == ["a", "b"]

    def test_a_name_that_obstore_cannot_bear_is_named(self, server: FakeServer) -> None:
        storage = connect("s3://bucket/p", storage_options={**OPTIONS, "endpoint_url": server.url})
        server.objects["p/a//b"] = (b"1", 1)
        assert refused_by(lambda: list(storage.list(""))).code == "foreign_object"


class TestGoogle:
    """Google's conditions are generation numbers; its XML interface otherwise speaks like S3."""

    @pytest.fixture
    def google(self, server: FakeServer) -> Storage:
        return connect("gs://bucket/p", storage_options={"endpoint": server.url, "bearer_token": SECRET})

    def test_conditions_are_generations(self, server: FakeServer, google: Storage) -> None:
        version = google.put_create("a", b"1")
        assert version == str(server.generation)
        assert server.requests[-1][2]["x-goog-if-generation-match"] == "0"
        assert google.get("a").version == version
        second = google.put_if("a", b"2", version)
        assert server.requests[-1][2]["x-goog-if-generation-match"] == version
        with pytest.raises(ConflictError):
            google.put_if("a", b"3", version)
        with pytest.raises(ConflictError):
            google.put_create("a", b"3")
        with pytest.raises(ConflictError):
            google.put_if("missing", b"3", version)
        assert google.get("a").version == second

    def test_no_credentials(self, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("GCE_METADATA_HOST", "GCE_METADATA_ROOT", "GCE_METADATA_IP"):
            monkeypatch.setenv(name, "127.0.0.1:9")  # where no machine tells credentials
        error = refused_by(lambda: connect("gs://bucket/p", storage_options={"endpoint": server.url}).get("a"))
        assert error.code == "credentials_invalid"
        assert "GOOGLE_APPLICATION_CREDENTIALS" in str(error.hint)

    def test_it_passes_the_probe(self, google: Storage) -> None:
        result = probe(google, rounds=2)
        assert result.problems == []
        assert result.multi_writer


class TestCredentials:
    @pytest.fixture
    def place(self, moto: Endpoint) -> str:
        return f"s3://{moto.bucket}/credentials/{clock.random_hex()}"

    def test_the_environment_is_enough(self, moto: Endpoint, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", moto.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", moto.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", moto.secret_key)
        for door in ("", "fsspec+"):
            connect(door + place).put("a", b"1")
            assert connect(door + place).get("a").data == b"1"

    @pytest.fixture
    def profile(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        (tmp_path / "config").write_text(
            "[profile agent]\nregion = eu-north-1\naws_access_key_id = AKIAPROFILE\n"
            f"aws_secret_access_key = {SECRET}\naws_session_token = sessiontoken\n"
        )
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        return "agent"

    def test_a_profile(self, server: FakeServer, profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
        connect("s3://bucket", storage_options={"profile": profile, "endpoint_url": server.url}).put("a", b"1")
        sent = server.requests[-1][2]
        assert "Credential=AKIAPROFILE/" in sent["authorization"]
        assert sent["x-amz-security-token"] == "sessiontoken"
        monkeypatch.setenv("AWS_PROFILE", profile)
        connect("s3://bucket", storage_options={"endpoint_url": server.url}).put("a", b"1")
        assert "Credential=AKIAPROFILE/" in server.requests[-1][2]["authorization"]

    def test_an_unknown_profile(self, server: FakeServer) -> None:
        options = {"profile": "unknown", "endpoint_url": server.url}
        assert refused_by(lambda: connect("s3://bucket", storage_options=options)).code == "credentials_invalid"

    def test_no_credentials_at_all(self, server: FakeServer) -> None:
        error = refused_by(lambda: connect("s3://bucket", storage_options={"endpoint_url": server.url}))
        assert error.code == "credentials_invalid"
        assert "AWS_PROFILE" in str(error.hint)
        storage = connect("fsspec+s3://bucket", storage_options={"endpoint_url": server.url})
        assert refused_by(lambda: storage.get("a")).code == "credentials_invalid"

    def test_anonymous(self, server: FakeServer, door: str) -> None:
        storage = connect(f"{door}://bucket", storage_options={"anon": True, "endpoint_url": server.url})
        storage.put("a", b"1")
        assert "authorization" not in server.requests[-1][2]

    def test_a_search_that_fails_later(self, server: FakeServer, profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
        import botocore.credentials

        storage = connect("s3://bucket", storage_options={"profile": profile, "endpoint_url": server.url})

        def expired(_: object) -> None:
            raise RuntimeError(f"the token {SECRET} has expired")

        monkeypatch.setattr(botocore.credentials.Credentials, "get_frozen_credentials", expired)
        error = refused_by(lambda: storage.get("a"))
        assert error.code == "credentials_invalid"
        assert "aws sso login" in str(error.hint)

    def test_wrong_keys_and_missing_buckets(self, moto: Endpoint) -> None:
        storage = connect("s3://no-such-bucket/x", storage_options=moto.options)
        for call in (lambda: storage.get("a"), lambda: storage.put_create("a", b""), lambda: list(storage.list(""))):
            assert refused_by(call).code == "container_not_found"


class TestOptions:
    def test_an_unknown_option_is_named(self) -> None:
        with pytest.raises(InvalidInputError) as caught:
            connect("s3://bucket", storage_options={**OPTIONS, "colour": "blue"})
        assert (caught.value.code, caught.value.context["option"]) == ("invalid_option", "colour")

    def test_a_wrong_value_is_not_repeated(self) -> None:
        with pytest.raises(InvalidInputError) as caught:
            connect("s3://bucket", storage_options={**OPTIONS, "client_options": {"timeout": SECRET}})
        assert SECRET not in "".join(traceback.format_exception(caught.value))


class TestReadOnly:
    def test_nothing_is_sent(self, server: FakeServer, door: str) -> None:
        storage = connect(f"{door}://bucket", storage_options={**OPTIONS, "endpoint_url": server.url}, read_only=True)
        assert storage.read_only
        calls: list[Callable[[], object]] = [
            lambda: storage.put("a", b""),
            lambda: storage.put_create("a", b""),
            lambda: storage.put_if("a", b"", "v"),
            lambda: storage.delete_many(["a"]),
        ]
        for call in calls:
            with pytest.raises(SnapstoreError) as caught:
                call()
            assert caught.value.code == "read_only"
        assert server.requests == []


class TestClock:
    def test_it_is_the_servers(self, server: FakeServer, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fake_server._Handler, "date_time_string", lambda *_: "Tue, 14 Nov 2023 22:13:20 GMT")
        assert 0 <= storage.now_ms() - DATE_S * 1000 < 5_000
        amount = len(server.requests)
        assert 0 <= storage.now_ms() - DATE_S * 1000 < 5_000
        assert len(server.requests) == amount

    def test_without_a_date_it_is_that_of_a_new_object(self, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
        storage = connect("s3://bucket/p", storage_options={**OPTIONS, "endpoint_url": server.url})
        monkeypatch.setattr(fake_server._Handler, "date_time_string", lambda *_: "no date")
        monkeypatch.setattr(server, "now", lambda: DATE_S)
        assert 0 <= storage.now_ms() - DATE_S * 1000 < 5_000
        assert server.objects == {}

    def test_a_refusal_tells_the_time_too(self, server: FakeServer) -> None:
        storage = connect("s3://bucket/p", storage_options={**OPTIONS, "endpoint_url": server.url})
        server.faults = [status(403, "AccessDenied")]
        assert abs(storage.now_ms() - clock.now_ms()) < 5_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12 warns of forking with threads
def test_a_forked_child_is_told_and_does_not_hang(storage: Storage) -> None:
    storage.put("a", b"1")
    child = os.fork()
    if child == 0:
        code = 0
        for call in (lambda: storage.get("a"), lambda: storage.put("a", b""), lambda: next(storage.list("")),
                     lambda: storage.delete_many(["a"])):  # fmt: skip
            try:
                call()
            except StorageError as error:
                code = code or (0 if error.code == "forked_process" and "spawn" in str(error.hint) else 1)
            except BaseException:  # noqa: BLE001 - nothing may come out of the child but its exit code
                code = 2
            else:
                code = 3
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert storage.get("a").data == b"1"


def test_a_missing_object_behind_a_prefix(storage: Storage) -> None:
    with pytest.raises(NotFoundError) as caught:
        storage.get("a/b")
    assert caught.value.context["key"] == "a/b"


def test_large_writes_go_in_parts_only_without_conditions(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from snapstore.storage import objects

    storage = connect("s3://bucket", storage_options={**OPTIONS, "endpoint_url": server.url})
    monkeypatch.setattr(objects, "MULTIPART_BYTES", 10)
    body = bytes(6_000_000)
    version = storage.put_create("a", body)
    storage.put_if("a", body + b"1", version)
    assert [(method, path) for method, path, _ in server.requests] == [("PUT", "/bucket/a")] * 2
