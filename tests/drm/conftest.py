"""A key folder, a real SPEKE server on a loopback port, and a real packager with tiny clips."""

import base64
import hashlib
import hmac
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from lxml import etree

from media_workers.drm.custody import Custody, CustodySettings
from media_workers.drm.speke import SpekeServer
from media_workers.media.protection import SYSTEM_IDS, CopyScheme, ProtectionPlan, protection_args
from media_workers.media.pssh import playready_pssh, widevine_pssh
from media_workers.procs.binaries import Binaries, find_binaries

CPIX = "{urn:dashif:org:cpix}"
DS = "{http://www.w3.org/2000/09/xmldsig#}"
ENC = "{http://www.w3.org/2001/04/xmlenc#}"
PSKC = "{urn:ietf:params:xml:ns:keyprov:pskc}"
TOOL_SECONDS = 60
TOKEN = "speke-token-0123456789"
# One little file a label; labels are ours to give, so none has to be large.
VIDEO_LABELS = ("SD", "HD", "UHD")

CustodyFactory = Callable[..., Custody]


@pytest.fixture(scope="session")
def tools() -> Binaries:
    return find_binaries()


@pytest.fixture
def key_root(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def custody(tmp_path: Path, key_root: Path) -> CustodyFactory:
    """Opens the key folder, with the settings that a test names."""

    def opened(**settings: Any) -> Custody:
        return Custody(CustodySettings(root=key_root, published=tmp_path / "media", **settings))

    return opened


class KeyServer:
    """A SPEKE 2 server over HTTP. `bad` names what is wrong with its answers; the key follows from the id."""

    def __init__(self) -> None:
        self.bad: str | None = None
        self.requests: list[tuple[Mapping[str, str], bytes]] = []
        self.release = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append((dict(self.headers), body))
                status, answer, headers = outer.answer(self.headers.get("Authorization"), body)
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)
                except ConnectionError:
                    return  # the client had waited long enough

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/copyProtection"

    @property
    def settings(self) -> SpekeServer:
        return SpekeServer(url=self.url, token=TOKEN, timeout_seconds=5)

    @staticmethod
    def key_of(key_id: str) -> bytes:
        return hashlib.sha256(b"server" + bytes.fromhex(key_id)).digest()[:16]

    def answer(self, authorization: str | None, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        if authorization != f"Bearer {TOKEN}":
            return 401, b"", {}
        if self.bad == "error":
            return 500, b"Traceback (most recent call last)", {}
        if self.bad == "refused":
            return 422, b"", {}
        if self.bad == "redirect":
            return 307, b"", {"Location": self.url}
        if self.bad == "slow":
            self.release.wait(TOOL_SECONDS)
        if self.bad == "no xml":
            return 200, b"<html><body>hello", {}
        if self.bad == "long":
            return 200, b"<a>" + b" " * (2 << 20), {}
        if self.bad == "entity":
            return 200, b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>', {}
        return 200, self.filled(etree.fromstring(body)), {"Content-Type": "application/xml"}

    def filled(self, root: etree._Element) -> bytes:
        keys = list(root.iter(f"{CPIX}ContentKey"))
        ids = [key.get("kid", "").replace("-", "") for key in keys]
        scheme = str(keys[0].get("commonEncryptionScheme"))
        for key, key_id in zip(keys, ids, strict=True):
            value = self.key_of(key_id)
            if self.bad == "short key":
                value = value[:15]
            if self.bad == "same key":
                value = self.key_of("00" * 16)
            if self.bad == "wrong scheme":
                key.set("commonEncryptionScheme", "cens")
            if scheme == "cbcs":
                key.set("explicitIV", base64.b64encode(self.key_of(key_id)[::-1]).decode())
            secret = etree.SubElement(etree.SubElement(key, f"{CPIX}Data"), f"{PSKC}Secret")
            if self.bad != "no value":
                etree.SubElement(secret, f"{PSKC}PlainValue").text = base64.b64encode(value).decode()
        if self.bad == "missing key":
            keys[-1].getparent().remove(keys[-1])  # type: ignore[union-attr] # a key has a list around it
        if self.bad == "other title":
            root.set("contentId", "somebody-elses")
        for system in root.iter(f"{CPIX}DRMSystem"):
            self._fill_system(system, scheme)
        if root.find(f".//{DS}X509Certificate") is not None and self.bad != "plain":
            self._encrypt(root)
        return etree.tostring(root)

    def _fill_system(self, system: etree._Element, scheme: str) -> None:
        key_id = system.get("kid", "").replace("-", "")
        named = key_id if self.bad != "wrong pssh" else "11" * 16
        makers = {SYSTEM_IDS["widevine"]: widevine_pssh, SYSTEM_IDS["playready"]: playready_pssh}
        make = makers.get(system.get("systemId", "").replace("-", ""))
        box = system.find(f"{CPIX}PSSH")
        if make is not None and box is not None:
            copy: CopyScheme = "cenc" if scheme == "cenc" else "cbcs"
            box.text = base64.b64encode(make([named], copy)).decode()
            if self.bad == "cut pssh":
                box.text = base64.b64encode(make([named], copy)[:-4]).decode()
        if make is None:
            line = f'#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://keys.example/{key_id}",KEYFORMATVERSIONS="1"'
            if self.bad == "wrong address":
                line = '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="https://elsewhere.example/"'
            for element in system.iter(f"{CPIX}HLSSignalingData"):
                element.text = base64.b64encode(line.encode()).decode()

    def _encrypt(self, root: etree._Element) -> None:
        """Deliver as CPIX describes: keys under a document key, that one under the client's certificate."""
        text = root.findtext(f".//{DS}X509Certificate") or ""
        public = x509.load_der_x509_certificate(base64.b64decode(text)).public_key()
        if self.bad == "somebody else":
            public = rsa.generate_private_key(65537, 2048).public_key()
        assert isinstance(public, rsa.RSAPublicKey)
        document_key, mac_key = os.urandom(32), os.urandom(64)
        # What the specification names.
        oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303 - see above
        data = root.find(f".//{CPIX}DeliveryData")
        for name, secret in (("DocumentKey", document_key), ("MACMethod", mac_key)):
            assert data is not None
            self._cipher(etree.SubElement(data, f"{CPIX}{name}"), public.encrypt(secret, oaep))
        for secret_element in root.iter(f"{PSKC}Secret"):
            [plain] = secret_element
            value = base64.b64decode(plain.text or "")
            secret_element.remove(plain)
            vector = os.urandom(16)
            cipher = Cipher(algorithms.AES(document_key), modes.CBC(vector)).encryptor()
            filled = value + bytes([16 - len(value) % 16]) * (16 - len(value) % 16)
            sealed = vector + cipher.update(filled) + cipher.finalize()
            self._cipher(etree.SubElement(secret_element, f"{PSKC}EncryptedValue"), sealed)
            mac = hmac.digest(mac_key, sealed + (b"!" if self.bad == "changed" else b""), "sha512")
            etree.SubElement(secret_element, f"{PSKC}ValueMAC").text = base64.b64encode(mac).decode()

    @staticmethod
    def _cipher(parent: etree._Element, sealed: bytes) -> None:
        value = etree.SubElement(etree.SubElement(parent, f"{ENC}CipherData"), f"{ENC}CipherValue")
        value.text = base64.b64encode(sealed).decode()

    def close(self) -> None:
        self.release.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def key_server() -> Iterator[KeyServer]:
    server = KeyServer()
    yield server
    server.close()


class Packager:
    """Packages the same clips clear or protected; one folder a stream, as the product lays it out."""

    def __init__(self, tools: Binaries, clips: Path) -> None:
        self.tools = tools
        self.clips = clips

    def argv(self, protection: Sequence[str], *, master: str = "master.m3u8") -> list[str]:
        streams = [self._stream("video", label) for label in VIDEO_LABELS]
        return [
            self.tools.packager,
            *streams,
            self._stream("audio", "AUDIO"),
            "--quiet",
            "--segment_duration=1",
            "--fragment_duration=1",
            "--default_language=en",
            "--generate_static_live_mpd",
            "--mpd_output=manifest.mpd",
            f"--hls_master_playlist_output={master}",
            "--hls_playlist_type=VOD",
            *protection,
        ]

    def _stream(self, kind: str, label: str) -> str:
        parts = [
            f"in={self.clips / label}.mp4",
            f"stream={kind}",
            f"drm_label={label}",
            f"init_segment={label}/init.mp4",
            f"segment_template={label}/$Number%05d$.m4s",
            f"playlist_name={label}/playlist.m3u8",
        ]
        if kind == "video":
            parts.append(f"iframe_playlist_name={label}/iframes.m3u8")
        return ",".join(parts)

    def run(self, folder: Path, protection: Sequence[str]) -> Path:
        folder.mkdir(parents=True)
        done = subprocess.run(
            self.argv(protection),
            check=False,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=TOOL_SECONDS,
        )
        assert done.returncode == 0, done.stderr
        return folder

    def protected(self, folder: Path, plan: ProtectionPlan, copy: CopyScheme, flags: str) -> Path:
        return self.run(folder, [*protection_args(plan, copy), f"--flagfile={flags}"])

    def pictures(self, package: Path, label: str, key: bytes | None = None) -> str:
        """Hash of what a decoder makes of a stream; only a test may name a key in an argument."""
        joined = package / f"{label}.joined"
        parts = [package / label / "init.mp4", *sorted((package / label).glob("*.m4s"))]
        joined.write_bytes(b"".join(part.read_bytes() for part in parts))
        done = subprocess.run(
            [
                self.tools.ffmpeg, "-v", "quiet",
                *(["-decryption_key", key.hex()] if key else []),
                "-i", str(joined), "-map", "0", "-f", "md5", "-",
            ],
            check=False, capture_output=True, text=True, timeout=TOOL_SECONDS,
        )  # fmt: skip
        joined.unlink()
        return done.stdout.strip()


@pytest.fixture(scope="session")
def packager(tools: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Packager:
    clips = tmp_path_factory.mktemp("clips")
    subprocess.run(
        [
            tools.ffmpeg, "-v", "error",
            "-f", "lavfi", "-i", "testsrc2=s=160x90:r=25:d=3",
            "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=3",
            *(
                word
                for label in VIDEO_LABELS
                for word in (
                    "-map", "0:v", "-c:v", "libx264", "-preset", "ultrafast", "-g", "25",
                    "-pix_fmt", "yuv420p", str(clips / f"{label}.mp4"),
                )
            ),
            "-map", "1:a", "-c:a", "aac", str(clips / "AUDIO.mp4"),
        ],
        check=True, timeout=TOOL_SECONDS,
    )  # fmt: skip
    return Packager(tools, clips)


@pytest.fixture(scope="session")
def clear(packager: Packager, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clear package of the clips."""
    return packager.run(tmp_path_factory.mktemp("clear") / "package", [])


def spellings(key: bytes) -> dict[str, bytes]:
    """The ways in which a key might be written somewhere."""
    plain = base64.b64encode(key)
    return {
        "raw": key,
        "hex": key.hex().encode(),
        "HEX": key.hex().upper().encode(),
        "base64": plain.rstrip(b"="),
        "base64url": base64.urlsafe_b64encode(key).rstrip(b"="),
        "json": msgspec.json.encode(key).strip(b'"').rstrip(b"="),
    }


@pytest.fixture(scope="session")
def leaks() -> Callable[[Sequence[bytes], bytes], list[str]]:
    """Which spellings of which keys are in a text."""

    def found(keys: Sequence[bytes], content: bytes) -> list[str]:
        return [
            f"key {number} as {name}"
            for number, key in enumerate(keys)
            for name, text in spellings(key).items()
            if text in content
        ]

    return found
