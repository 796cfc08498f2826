"""From a url, `storage_options` and the environment to the settings of an object store: pure, without connections.

The environment variables are those of the clouds' own kits: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_REGION,
AWS_DEFAULT_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE, AZURE_STORAGE_*, GOOGLE_*.
What `storage_options` says wins over the environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal

from snapstore.errors import InvalidInputError

Kind = Literal["s3", "gs", "az"]

SCHEMES: Final[dict[str, Kind]] = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "gcs": "gs",
    "az": "az",
    "azure": "az",
    "abfs": "az",
    "abfss": "az",
}

# Names that boto3, s3fs, gcsfs and adlfs use, by ours (which are obstore's).
_ALIASES: Final = {
    "s3": {
        "key": "access_key_id",
        "secret": "secret_access_key",
        "token": "session_token",
        "username": "access_key_id",
        "password": "secret_access_key",
        "endpoint_url": "endpoint",
        "region_name": "region",
        "anon": "skip_signature",
        "profile_name": "profile",
    },
    "gs": {"endpoint": "base_url", "endpoint_url": "base_url", "anon": "skip_signature"},
    "az": {"endpoint_url": "endpoint", "anon": "skip_signature"},
}
_PREFIXES: Final = {"s3": ("aws_",), "gs": ("google_",), "az": ("azure_storage_", "azure_")}
# A connection on another continent is open within 0.3 s; five seconds forgive two lost packets.
CONNECT_TIMEOUT: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class ObjectSettings:
    """Everything needed to reach a bucket. `config` and `options` may hold secrets: never print them."""

    kind: Kind
    """Whose protocol is spoken."""
    url: str
    """Printable."""
    bucket: str
    """The bucket or container."""
    prefix: str
    """In front of every key; empty or ending with `/`."""
    endpoint: str
    """Where requests go; also the name under which probe results are kept."""
    config: dict[str, Any] = field(repr=False)
    """Settings in obstore's words."""
    client_options: dict[str, Any] = field(repr=False)
    """Time-outs, proxies, certificates in obstore's words."""
    retry_options: dict[str, Any] = field(repr=False)
    """Retries inside obstore. None by default: `Retry` does them, under one deadline."""
    credentials: Literal["static", "profile", "found", "none"] = "static"
    """Where keys come from: `static` in the settings or the environment, a `profile`, to be `found` (web identity,
    container, machine), `none`."""
    profile: str | None = None
    """The profile, or None for the default one."""


def parse_url(url: str) -> tuple[Kind, str, str]:
    """Return (kind, bucket, prefix) of an `s3://`, `gs://` or `az://` url.

    Raises:
        InvalidInputError: code `invalid_url`. The message never quotes a part that may hold a secret.
    """
    scheme, separator, rest = url.partition("://")
    kind = SCHEMES.get(scheme)
    if not separator or kind is None:
        raise InvalidInputError("not the url of an object store", code="invalid_url", scheme=scheme)
    bucket, _, path = rest.partition("/")
    if "@" in bucket and not (kind == "az" and scheme.startswith("abfs")):
        raise InvalidInputError(
            "a url holds no credentials",
            code="invalid_url",
            hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or pass storage_options",
        )
    segments = [segment for segment in path.split("/") if segment]
    strange = any(segment in {".", ".."} or not segment.isprintable() for segment in segments)
    if not bucket or strange or "?" in rest or "#" in rest or ":" in bucket:
        raise InvalidInputError(
            "not a url of the form scheme://bucket/prefix",
            code="invalid_url",
            hint="the endpoint and the region go into storage_options or the environment",
            scheme=scheme,
        )
    return kind, bucket, "".join(f"{segment}/" for segment in segments)


def object_settings(
    url: str,
    options: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    timeout_s: float = 60.0,
) -> ObjectSettings:
    """Work out how to reach an object store.

    Args:
        url: `s3://bucket/prefix`, `gs://...`, `az://...`.
        options: The user's `storage_options`: obstore's names, the usual aliases, and `profile`, `client_options` and
            `retry_options`.
        environ: The environment variables.
        timeout_s: Limit of a whole call with its retries; one attempt gets half of it.

    Raises:
        InvalidInputError: code `invalid_url`.
    """
    kind, bucket, prefix = parse_url(url)
    environ = environ or {}
    config = _named(kind, options or {})
    client = dict(config.pop("client_options", None) or {})
    retry = dict(config.pop("retry_options", None) or {"max_retries": 0})
    profile = config.pop("profile", None)
    if kind == "s3":
        endpoint = _s3_endpoint(config, environ)
        credentials = _s3_credentials(config, environ, profile)
        profile = profile or environ.get("AWS_PROFILE")
        # The default since obstore 0.4, but AWS_CONDITIONAL_PUT in the environment could change it.
        config["conditional_put"] = "etag"
    else:
        endpoint = _other_endpoint(kind, bucket, config, environ)
        credentials = "static"
        if kind == "az" and "@" in bucket:
            bucket, _, host = bucket.partition("@")
            config.setdefault("account_name", host.partition(".")[0])
    if endpoint.startswith("http://"):
        client.setdefault("allow_http", True)
    client.setdefault("connect_timeout", min(CONNECT_TIMEOUT, timedelta(seconds=timeout_s)))
    client.setdefault("timeout", timedelta(seconds=timeout_s / 2))
    return ObjectSettings(
        kind, f"{kind}://{bucket}/{prefix}".rstrip("/"), bucket, prefix, endpoint, config, client, retry, credentials, profile
    )


def _named(kind: Kind, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options under obstore's names; None means not given."""
    named: dict[str, Any] = {}
    for given, value in options.items():
        name = given.lower()
        for prefix in _PREFIXES[kind]:
            name = name.removeprefix(prefix)
        if value is not None:
            named[_ALIASES[kind].get(name, name)] = value
    return named


def _s3_endpoint(config: dict[str, Any], environ: Mapping[str, str]) -> str:
    given = config.get("endpoint") or next(
        (environ[name] for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT") if environ.get(name)), ""
    )
    region = config.get("region") or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    if region:
        config["region"] = region
    if given:
        config["endpoint"] = str(given).rstrip("/")
        # Any name does for a server that is not Amazon's; without one obstore would not sign.
        config.setdefault("region", "us-east-1")
        return str(config["endpoint"])
    return f"https://s3.{region or 'us-east-1'}.amazonaws.com"


def _s3_credentials(
    config: dict[str, Any], environ: Mapping[str, str], profile: str | None
) -> Literal["static", "profile", "found", "none"]:
    if str(config.get("skip_signature", "")).lower() in {"true", "1", "yes"}:
        return "none"
    if config.get("access_key_id") and config.get("secret_access_key"):
        return "static"
    # As in botocore: a profile given in code wins over keys in the environment, AWS_PROFILE does not.
    if profile:
        return "profile"
    if environ.get("AWS_ACCESS_KEY_ID") and environ.get("AWS_SECRET_ACCESS_KEY"):
        return "static"
    return "profile" if environ.get("AWS_PROFILE") else "found"


def _other_endpoint(kind: Kind, bucket: str, config: dict[str, Any], environ: Mapping[str, str]) -> str:
    if kind == "gs":
        return str(config.get("base_url") or environ.get("GOOGLE_BASE_URL") or "https://storage.googleapis.com")
    given = config.get("endpoint") or environ.get("AZURE_STORAGE_ENDPOINT") or environ.get("AZURE_ENDPOINT")
    if given:
        return str(given)
    host = bucket.partition("@")[2]
    account = config.get("account_name") or host.partition(".")[0] or environ.get("AZURE_STORAGE_ACCOUNT_NAME", "")
    return f"https://{account}.blob.core.windows.net"
