"""When a certificate runs out, read from its PEM text without a library that agents would need for nothing else.

Pure. RFC 5280, 4.1: a certificate is a sequence whose first part holds, after an optional version, serial number,
signature algorithm and issuer, the validity: two times. Nothing else is looked at, and nothing is verified.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from datetime import UTC, datetime

SEQUENCE, VERSION, UTC_TIME, GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
MOST_BYTES = 64 * 1024  # of a file; a certificate takes 1 to 3 kB
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----([0-9A-Za-z+/=\s]+)-----END CERTIFICATE-----")


def expiries(pem: bytes) -> list[float]:
    """Return when each certificate of a PEM text runs out, in seconds since 1970. ValueError if one is broken."""
    return [expiry(a2b_base64(each)) for each in _PEM.findall(pem)]


def expiry(der: bytes) -> float:
    """Return when a certificate in DER runs out, in seconds since 1970. ValueError for anything else."""
    _, certificate, _ = _element(der, SEQUENCE)
    _, body, _ = _element(certificate, SEQUENCE)
    tag, _, rest = _element(body)
    if tag == VERSION:
        _, _, rest = _element(rest)
    for _ in range(2):  # signature algorithm, issuer
        _, _, rest = _element(rest)
    _, validity, _ = _element(rest, SEQUENCE)
    _, _, rest = _element(validity)
    tag, text, _ = _element(rest)
    return _moment(tag, text)


def _element(data: bytes, expected: int = 0) -> tuple[int, bytes, bytes]:
    """Return the first element of DER: its tag, its content, and what follows it."""
    if len(data) < 2 or (expected and data[0] != expected):
        raise ValueError("not a certificate")
    start, length = 2, data[1]
    if length & 0x80:
        start = 2 + (length & 0x7F)
        length = int.from_bytes(data[2:start], "big")
    if len(data) < start + length:
        raise ValueError("a certificate that is cut off")
    return data[0], data[start : start + length], data[start + length :]


def _moment(tag: int, text: bytes) -> float:
    """Return a time of RFC 5280, which is in UTC and has seconds; two digits of a year are 1950 to 2049."""
    digits = text.decode("ascii", "replace")
    if tag == UTC_TIME and re.fullmatch(r"[0-9]{12}Z", digits):
        digits = ("19" if digits >= "5" else "20") + digits
    elif tag != GENERALIZED_TIME or not re.fullmatch(r"[0-9]{14}Z", digits):
        raise ValueError("a certificate without an end of its validity")
    return datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
