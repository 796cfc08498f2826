"""From urls, options and the environment to settings: who wins, and that no secret shows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from snapstore.errors import InvalidInputError
from snapstore.storage.object_settings import object_settings, parse_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3://bucket", ("s3", "bucket", "")),
        ("s3://bucket/", ("s3", "bucket", "")),
        ("s3a://bucket/a//b/", ("s3", "bucket", "a/b/")),
        ("s3://bucket/with blank/ü%20", ("s3", "bucket", "with blank/ü%20/")),
        ("gs://bucket/x", ("gs", "bucket", "x/")),
        ("gcs://bucket", ("gs", "bucket", "")),
        ("az://box/x", ("az", "box", "x/")),
        ("abfss://box@account.dfs.core.windows.net/x", ("az", "box@account.dfs.core.windows.net", "x/")),
    ],
)
def test_urls(url: str, expected: tuple[str, str, str]) -> None:
    assert parse_url(url) == expected


@pytest.mark.parametrize(
    "url",
    ["s3://", "s3:///x", "s3://bucket/../x", "s3://bucket/a?region=x", "s3://b#x", "s3://host:9000/b", "http://x/y", "bucket"],
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_url(url)
    assert caught.value.code == "invalid_url"


def test_keys_in_a_url_are_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_url("s3://AKIAKEY:topsecret@bucket/x")
    assert "topsecret" not in f"{caught.value!r} {caught.value} {caught.value.context}"
    assert "AWS_ACCESS_KEY_ID" in str(caught.value.hint)


class TestEndpoint:
    @pytest.mark.parametrize(
        ("options", "environ", "endpoint"),
        [
            ({}, {}, "https://s3.us-east-1.amazonaws.com"),
            ({"region": "eu-west-1"}, {}, "https://s3.eu-west-1.amazonaws.com"),
            ({}, {"AWS_DEFAULT_REGION": "eu-west-3"}, "https://s3.eu-west-3.amazonaws.com"),
            ({}, {"AWS_ENDPOINT_URL": "http://one:1/"}, "http://one:1"),
            ({}, {"AWS_ENDPOINT_URL": "http://one", "AWS_ENDPOINT_URL_S3": "http://two"}, "http://two"),
            ({"endpoint_url": "http://mine"}, {"AWS_ENDPOINT_URL": "http://one"}, "http://mine"),
            ({"aws_endpoint": "https://mine"}, {}, "https://mine"),
        ],
    )
    def test_s3(self, options: dict[str, Any], environ: dict[str, str], endpoint: str) -> None:
        settings = object_settings("s3://b", options, environ)
        assert settings.endpoint == endpoint
        if not endpoint.endswith("amazonaws.com"):
            assert settings.config["endpoint"] == endpoint
            assert settings.config["region"]
        assert settings.client_options.get("allow_http", False) == endpoint.startswith("http://")

    def test_the_region_of_the_environment_goes_along_with_its_endpoint(self) -> None:
        environ = {"AWS_ENDPOINT_URL": "http://one", "AWS_REGION": "here"}
        assert object_settings("s3://b", {}, environ).config["region"] == "here"

    def test_others(self) -> None:
        assert object_settings("gs://b").endpoint == "https://storage.googleapis.com"
        assert object_settings("gs://b", {"endpoint": "http://x"}).config["base_url"] == "http://x"
        assert object_settings("az://b", {"account_name": "acc"}).endpoint == "https://acc.blob.core.windows.net"
        assert object_settings("az://b", {}, {"AZURE_STORAGE_ACCOUNT_NAME": "acc"}).endpoint.startswith("https://acc.")
        settings = object_settings("abfs://box@acc.dfs.core.windows.net/p")
        assert (settings.bucket, settings.config["account_name"]) == ("box", "acc")
        assert settings.endpoint == "https://acc.blob.core.windows.net"
        assert settings.url == "az://box/p"


KEYS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}


class TestCredentials:
    @pytest.mark.parametrize(
        ("options", "environ", "expected", "profile"),
        [
            ({}, {}, "found", None),
            ({}, KEYS, "static", None),
            ({"key": "id", "secret": "s"}, {}, "static", None),
            ({"aws_access_key_id": "id", "aws_secret_access_key": "s"}, {"AWS_PROFILE": "p"}, "static", "p"),
            ({"anon": True}, KEYS, "none", None),
            ({"skip_signature": "true"}, {}, "none", None),
            ({"anon": False}, {}, "found", None),
            ({"profile": "mine"}, KEYS, "profile", "mine"),
            ({"profile": "mine"}, {"AWS_PROFILE": "other"}, "profile", "mine"),
            ({}, {"AWS_PROFILE": "other"}, "profile", "other"),
            ({}, {"AWS_PROFILE": "other", **KEYS}, "static", "other"),
        ],
    )
    def test_where_keys_come_from(
        self, options: dict[str, Any], environ: dict[str, str], expected: str, profile: str | None
    ) -> None:
        settings = object_settings("s3://b", options, environ)
        assert (settings.credentials, settings.profile) == (expected, profile)

    def test_usual_names_are_understood(self) -> None:
        settings = object_settings("s3://b", {"key": "id", "secret": "s", "token": "t", "region_name": "r", "profile": None})
        assert settings.config == {
            "access_key_id": "id",
            "secret_access_key": "s",
            "session_token": "t",
            "region": "r",
            "conditional_put": "etag",
        }

    def test_settings_do_not_show_secrets(self) -> None:
        settings = object_settings("s3://b", {"key": "AKIAKEY", "secret": "topsecret"}, {})
        assert "topsecret" not in repr(settings)
        assert "AKIAKEY" not in repr(settings)


def test_time_outs() -> None:
    settings = object_settings("s3://b", {}, {}, timeout_s=20)
    assert settings.client_options["timeout"] == timedelta(seconds=10)
    assert settings.client_options["connect_timeout"] == timedelta(seconds=5)
    assert settings.retry_options == {"max_retries": 0}
    mine = object_settings("s3://b", {"client_options": {"timeout": "1s"}, "retry_options": {"max_retries": 2}}, {})
    assert mine.client_options["timeout"] == "1s"
    assert mine.retry_options == {"max_retries": 2}
