"""Answers that are no success: etcd's own errors, and what else may stand at an endpoint.

Pure: turns status and body into `EtcdError` (etcd, or what guards it, refused) or `EtcdUnreachable` (this is not
etcd), each with a cause and a remedy in one line.
"""

from __future__ import annotations

from registry.etcd.wire import EtcdError, EtcdUnreachable, Json, decode_refusal, shown

DENIED = 7  # gRPC's PERMISSION_DENIED

NO_CN = (
    "etcd takes no client certificate with a common name (CN) through its JSON gateway while users are on: issue"
    " etcd.cert_file without a CN (for example -subj /O=fleet) and name the user by etcd.username and"
    " etcd.password_file"
)
HOST_DENIED = "etcd does not serve this name of it: add the endpoint's host to its --host-whitelist"
NO_GATEWAY = (
    "answered HTTP {status} below /v3: not an etcd of version 3.4 or later, or its peer port, or its JSON gateway"
    " is off (--enable-grpc-gateway)"
)
GUARDED = "something before etcd wants a login of its own (a proxy?): give an endpoint that leads to etcd itself"
NO_BACKEND = "answered HTTP {status}: a proxy or load balancer stands there, and reaches no etcd"
NOT_ETCD = "answered HTTP {status} and no JSON: not an etcd of version 3.4 or later"
TLS_WANTED = "speaks TLS: write the endpoint with https://"

OUTSIDERS = {  # by HTTP status, for answers that are no JSON of etcd's
    401: GUARDED,
    403: GUARDED,
    404: NO_GATEWAY,
    407: GUARDED,
    502: NO_BACKEND,
    503: NO_BACKEND,
    504: NO_BACKEND,
}


def judge(status: int, body: bytes, answer: Json | None, location: str = "") -> EtcdError | EtcdUnreachable:
    """What an answer means that is not a plain success. `answer` is the body as JSON, if it is some."""
    if answer is not None and ("error" in answer or "code" in answer):
        return decode_refusal(answer)
    if b"CommonName of client" in body:
        return EtcdError(DENIED, NO_CN, complete=True)
    if status == 421:
        return EtcdError(DENIED, HOST_DENIED, complete=True)
    if b"HTTP request to an HTTPS server" in body:
        reason = TLS_WANTED
    elif 300 <= status < 400:
        there = f" to {shown(location)}" if location else ""
        reason = f"answered with a redirection{there}: give the endpoint where etcd itself is"
    else:
        reason = OUTSIDERS.get(status, NOT_ETCD).format(status=status)
    return EtcdUnreachable(reason, sent=not 300 <= status < 500, silent=status == 504)
