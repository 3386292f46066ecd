"""The packager as a client of a Widevine key server: only the packager and the server ever see the keys."""

from pathlib import Path

import msgspec

from media_workers.drm.errors import KeySourceRefusedError
from media_workers.drm.files import read_private
from media_workers.media.protection import CopyScheme

_PEM_START = b"-----BEGIN"
_AES_KEY_DIGITS = (32, 64)
_AES_IV_DIGITS = 32


class WidevineServer(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach and to convince the server.

    Attributes:
        url: of the key server.
        signer: the name the provider gave.
        signing_key_file: mode 0600; a PEM file with an RSA key (PKCS#1), or one line `KEY IV`, both in hex,
            for AES.
        policy: name of a policy that the provider keeps; may be empty.
    """

    url: str
    signer: str
    signing_key_file: Path
    policy: str = ""


def widevine_flagfile_text(
    server: WidevineServer | None, video_id: str, key_version: int, copy: CopyScheme
) -> str:
    """The packager's flag file for `--enable_widevine_encryption`; it holds the signing key.

    The server makes a title's keys from its content id, so that a repeated request gets the same keys; the
    id here names video, key version and scheme.

    Raises:
        KeySourceRefusedError: a setting is missing, or the signing key is none.
        KeyStoreError: others may read the signing key.
    """
    if server is None:
        raise KeySourceRefusedError(
            "keySource widevine needs a key server; set SHOWRUNNER_WIDEVINE_URL, SHOWRUNNER_WIDEVINE_SIGNER "
            "and SHOWRUNNER_WIDEVINE_SIGNING_KEY_FILE on the worker"
        )
    content_id = f"{video_id}/{key_version}/{copy}".encode().hex()
    return "".join(
        f"--{name}={value}\n"
        for name, value in (
            ("key_server_url", server.url),
            ("content_id", content_id),
            ("signer", server.signer),
            *_signing_flags(server.signing_key_file),
            *((("policy", server.policy),) if server.policy else ()),
        )
    )


def _signing_flags(path: Path) -> tuple[tuple[str, str], ...]:
    content = read_private(path)
    if content is None:
        raise KeySourceRefusedError(f"there is no file {path} (SHOWRUNNER_WIDEVINE_SIGNING_KEY_FILE)")
    if content.lstrip().startswith(_PEM_START):
        return (("rsa_signing_key_path", str(path.resolve())),)
    words = content.decode("ascii", "replace").split()
    if len(words) != 2 or not _is_hex(words[0], _AES_KEY_DIGITS) or not _is_hex(words[1], (_AES_IV_DIGITS,)):
        raise KeySourceRefusedError(
            f"{path} must hold a PEM key, or one line with an AES key and its vector in hex"
        )
    return (("aes_signing_key", words[0]), ("aes_signing_iv", words[1]))


def _is_hex(text: str, lengths: tuple[int, ...]) -> bool:
    return len(text) in lengths and all(digit in "0123456789abcdefABCDEF" for digit in text)
