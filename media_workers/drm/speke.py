"""A client of SPEKE 2 key servers: one HTTPS request for all keys of a scheme, answered by a CPIX document.

A repeated request names the same title and the same key ids, so a server answers it with the same keys; who
repeats is the engine, which retries the task.
"""

import ipaddress
import time
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec

from media_workers.drm.delivery import Recipient
from media_workers.drm.errors import KeySourceRefusedError, KeySourceUnavailableError
from media_workers.drm.records import KeptKey, Material
from media_workers.drm.sources import KeyRequest, random_key_id
from media_workers.media.protection import CopyScheme, KeySource, Label

SPEKE_VERSION = "2.0"
USER_AGENT = "Showrunner"
ANSWER_BYTES_MAX = 1 << 20
READ_BYTES = 16 << 10
# What a server says that may be gone in a minute.
_BUSY = frozenset({408, 425, 429})


class SpekeServer(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server is, and how we talk to it. Its words never show the token.

    Attributes:
        url: https, or http on this machine.
        token: goes along as a bearer token.
        timeout_seconds: for an answer.
        certificate_file: with `private_key_file`: keys must arrive encrypted for this certificate.
        private_key_file: of the certificate.
    """

    url: str
    token: str | None = None
    timeout_seconds: float = 20.0
    certificate_file: Path | None = None
    private_key_file: Path | None = None

    def recipient(self) -> Recipient | None:
        """Who opens encrypted keys; None for a plain delivery.

        Raises:
            DrmError: one of the two files is missing or unusable.
        """
        if self.certificate_file is None and self.private_key_file is None:
            return None
        if self.certificate_file is None or self.private_key_file is None:
            raise KeySourceRefusedError(
                "SHOWRUNNER_SPEKE_CERTIFICATE_FILE and SHOWRUNNER_SPEKE_PRIVATE_KEY_FILE go together; one is "
                "not set"
            )
        return Recipient(self.certificate_file, self.private_key_file)

    def __repr__(self) -> str:
        return f"SpekeServer(url={self.url!r})"


class SpekeSource:
    """Keys of a SPEKE server.

    Args:
        server: None when the setting is missing.
        random_bytes: where key ids come from.
    """

    name: KeySource = "speke"

    def __init__(self, server: SpekeServer | None, random_bytes: Callable[[int], bytes]) -> None:
        self._server = server
        self._random_bytes = random_bytes

    def key_id(self, video_id: str, label: Label, scheme: CopyScheme) -> str:
        return random_key_id(self._random_bytes)

    def fetch(self, request: KeyRequest) -> Material:
        server = _usable(self._server)
        by_scheme = groupby(sorted(request.keys, key=lambda key: key.scheme), key=lambda key: key.scheme)
        with httpx.Client(timeout=server.timeout_seconds, follow_redirects=False, trust_env=False) as client:
            parts = [_asked(client, server, request, scheme, tuple(keys)) for scheme, keys in by_scheme]
        return Material(
            values={name: value for part in parts for name, value in part.values.items()},
            ivs={name: value for part in parts for name, value in part.ivs.items()},
            fairplay_uris={name: uri for part in parts for name, uri in part.fairplay_uris.items()},
            pssh={scheme: boxes for part in parts for scheme, boxes in part.pssh.items()},
        )


def _asked(
    client: httpx.Client,
    server: SpekeServer,
    request: KeyRequest,
    scheme: CopyScheme,
    keys: tuple[KeptKey, ...],
) -> Material:
    # The library behind it takes long to import, and most workers never ask a key server.
    from media_workers.drm.cpix_document import read_answer, request_document

    recipient = server.recipient()
    body = request_document(request.video_id, keys, request.systems, scheme, recipient=recipient)
    headers = {
        "Content-Type": "application/xml",
        "Accept": "application/xml",
        "X-Speke-Version": SPEKE_VERSION,
        "X-Speke-User-Agent": USER_AGENT,
    }
    if server.token:
        headers["Authorization"] = f"Bearer {server.token}"
    try:
        with client.stream("POST", server.url, content=body, headers=headers) as response:
            _check_status(response)
            answer = _bounded(response, server.timeout_seconds)
    except httpx.TransportError as error:
        raise KeySourceUnavailableError(
            f"the key server does not answer ({type(error).__name__}); is SHOWRUNNER_SPEKE_URL right?"
        ) from error
    return read_answer(answer, request.video_id, keys, request.systems, scheme, recipient=recipient)


def _check_status(response: httpx.Response) -> None:
    if response.status_code == 200:
        return
    if response.is_redirect:
        # Following it would carry the token to an address that nobody named.
        raise KeySourceRefusedError(
            "the key server answers with a redirect, which is not followed; name its final address in "
            "SHOWRUNNER_SPEKE_URL"
        )
    if response.status_code >= 500 or response.status_code in _BUSY:
        raise KeySourceUnavailableError(f"the key server answers {response.status_code}; try again later")
    if response.status_code in (401, 403):
        raise KeySourceRefusedError(
            f"the key server answers {response.status_code}; check SHOWRUNNER_SPEKE_TOKEN"
        )
    raise KeySourceRefusedError(f"the key server answers {response.status_code} to a request for keys")


def _bounded(response: httpx.Response, seconds: float) -> bytes:
    """The whole answer; neither a long one nor one that drips holds the task."""
    answer = bytearray()
    deadline = time.monotonic() + seconds
    for part in response.iter_bytes(READ_BYTES):
        answer += part
        if len(answer) > ANSWER_BYTES_MAX:
            raise KeySourceRefusedError(f"the key server's answer is longer than {ANSWER_BYTES_MAX} bytes")
        if time.monotonic() > deadline:
            raise KeySourceUnavailableError(f"the key server's answer took longer than {seconds:g} s")
    return bytes(answer)


def _usable(server: SpekeServer | None) -> SpekeServer:
    if server is None:
        raise KeySourceRefusedError(
            "keySource speke needs a key server; name it with SHOWRUNNER_SPEKE_URL on the worker"
        )
    parts = urlsplit(server.url)
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        return server
    raise KeySourceRefusedError(
        "SHOWRUNNER_SPEKE_URL must begin with https://, because keys travel in the answer "
        "(http:// is accepted for this machine alone)"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
