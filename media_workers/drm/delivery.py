"""Keys encrypted on their way: CPIX's delivery data, for key servers that must not answer in the clear.

We send a certificate; the server makes a document key and a MAC key, encrypts both for the certificate's RSA
key, and each content key with the document key.

Source: DASH-IF CPIX 2.3, sections on DeliveryData and on key encryption: RSA-OAEP with SHA-1, AES-256-CBC
with the vector in front, HMAC-SHA-512 over the encrypted value.
"""

import base64
import hashlib
import hmac
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from lxml import etree

from media_workers.drm.errors import KeySourceRefusedError
from media_workers.drm.files import read_private

RSA_BITS_MIN = 2048
AES_BLOCK_BYTES = 16
_NAMES = {
    "cpix": "urn:dashif:org:cpix",
    "ds": "http://www.w3.org/2000/09/xmldsig#",
    "enc": "http://www.w3.org/2001/04/xmlenc#",
    "pskc": "urn:ietf:params:xml:ns:keyprov:pskc",
}
# SHA-1 is what the specification names; in OAEP its collisions do not matter.
_OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)  # noqa: S303 - see above


class Recipient:
    """Our side of an encrypted delivery.

    Args:
        certificate_file: PEM; it is sent along.
        private_key_file: PEM of mode 0600, without a password; an RSA key of at least 2048 bits.

    Raises:
        KeySourceRefusedError: a file is missing, is none of these, or the two do not belong together.
        KeyStoreError: others may read the private key.
    """

    def __init__(self, certificate_file: Path, private_key_file: Path) -> None:
        self._key = _private_key(private_key_file)
        try:
            certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        except (OSError, ValueError) as error:
            raise KeySourceRefusedError(f"{certificate_file} is no certificate in PEM") from error
        if certificate.public_key() != self._key.public_key():
            raise KeySourceRefusedError(f"{certificate_file} and {private_key_file} do not belong together")
        self.certificate = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()

    def announce(self, root: etree._Element) -> None:
        """Put the certificate into a request."""
        entry = etree.fromstring(
            f'<DeliveryDataList xmlns="{_NAMES["cpix"]}" xmlns:ds="{_NAMES["ds"]}"><DeliveryData>'
            f"<DeliveryKey><ds:X509Data><ds:X509Certificate>{self.certificate}</ds:X509Certificate></ds:X509Data>"
            "</DeliveryKey></DeliveryData></DeliveryDataList>"
        )
        root.insert(0, entry)

    def open_answer(self, root: etree._Element) -> dict[str, bytes]:
        """The content keys of an answer.

        Returns:
            value by key id.

        Raises:
            KeySourceRefusedError: a key was changed on its way, is not encrypted, or was encrypted for
                somebody else.
        """
        document_key = self._opened(root, "DocumentKey")
        mac_key = self._opened(root, "MACMethod")
        return {
            str(key.get("kid", "")).replace("-", "").lower(): _value(key, document_key, mac_key)
            for key in root.iterfind("cpix:ContentKeyList/cpix:ContentKey", _NAMES)
        }

    def _opened(self, root: etree._Element, name: str) -> bytes:
        text = root.findtext(f".//cpix:DeliveryData/cpix:{name}//enc:CipherValue", None, _NAMES)
        if not text:
            raise KeySourceRefusedError(f"the key server's answer is not encrypted for us: it has no {name}")
        try:
            return self._key.decrypt(base64.b64decode(text.strip()), _OAEP)
        except ValueError:
            raise KeySourceRefusedError(
                f"the key server's answer is encrypted for somebody else: its {name} does not open"
            ) from None


def _value(key: etree._Element, document_key: bytes, mac_key: bytes) -> bytes:
    key_id = str(key.get("kid", ""))[:64]
    try:
        sealed = base64.b64decode((key.findtext(".//enc:CipherValue", "", _NAMES) or "").strip())
        said = base64.b64decode((key.findtext(".//pskc:ValueMAC", "", _NAMES) or "").strip())
        if not hmac.compare_digest(hmac.new(mac_key, sealed, hashlib.sha512).digest(), said):
            raise ValueError
        cipher = Cipher(algorithms.AES(document_key), modes.CBC(sealed[:AES_BLOCK_BYTES])).decryptor()
        padded = cipher.update(sealed[AES_BLOCK_BYTES:]) + cipher.finalize()
        unpadder = PKCS7(8 * AES_BLOCK_BYTES).unpadder()
        return unpadder.update(padded) + unpadder.finalize()
    except ValueError:
        raise KeySourceRefusedError(
            f"the key server's answer is wrong: the key {key_id} is not encrypted, or was changed on its way"
        ) from None


def _private_key(path: Path) -> rsa.RSAPrivateKey:
    content = read_private(path)
    if content is None:
        raise KeySourceRefusedError(f"there is no file {path} (SHOWRUNNER_SPEKE_PRIVATE_KEY_FILE)")
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError):
        raise KeySourceRefusedError(f"{path} is no private key in PEM without a password") from None
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < RSA_BITS_MIN:
        raise KeySourceRefusedError(f"{path} must be an RSA key of at least {RSA_BITS_MIN} bits")
    return key
