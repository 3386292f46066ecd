"""The payload store that a setting names."""

from __future__ import annotations

import re
from pathlib import Path

from engine.adapters.payloads.files import FilePayloads
from engine.core.errors import InvalidRequestError
from engine.ports.payloads import PayloadStore

_S3 = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?")


def open_payloads(where: str, data: Path, *, region: str, endpoint: str) -> PayloadStore:
    """The store; nothing is connected or made yet.

    Args:
        where: empty for files in the data folder, or s3://BUCKET/PREFIX.
        data: folder of this server.
        region: S3's; empty for the one AWS's own tools would take.
        endpoint: URL of another server that speaks S3.

    Raises:
        InvalidRequestError: the place is of no kind this version knows, or the library for it is missing.
    """
    if not where:
        return FilePayloads(data / "payloads")
    place = _S3.fullmatch(where)
    if place is None:
        raise InvalidRequestError(
            f"payloads: {where} is no place this version knows; write s3://BUCKET/PREFIX or leave it empty"
        )
    try:
        from engine.adapters.payloads.s3 import S3Payloads
    except ImportError as error:
        raise InvalidRequestError(
            f"payloads: S3 needs a library that is not installed ({error.name}); install showrunner[s3]"
        ) from error
    from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]  # it comes without types

    try:
        return S3Payloads(place[1], (place[2] or "").strip("/"), region=region, endpoint=endpoint)
    except (BotoCoreError, ValueError) as error:
        raise InvalidRequestError(f"payloads: S3 cannot be used: {error}") from error
