#!/usr/bin/env bash
# Python's ssl, OpenSSL 3: a certificate that is renewed with another type of key does not take the place of the old
# one when SSLContext.load_cert_chain is called again on a context in use. A context keeps one certificate for each
# type of key, so a server that goes from ECDSA to RSA this way still shows the old ECDSA certificate to clients that
# can take both, until it runs out and beyond. Renewed with the same type, it shows the new one. Nothing fails, and
# no call removes the old one: only a new context does.
# Seen (trustme 1.2.1, Python 3.11, OpenSSL 3): "ecdsa-ecdsa:new ecdsa-rsa:old rsa-ecdsa:new".
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/python -m pip install --quiet trustme==1.2.1
cat >renew.py <<'EOF'
import ssl

import trustme


def served(context, authority):
    """The certificate that a client gets, over memory."""
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(to_client, to_server, server_hostname="mail.example.org")
    server = context.wrap_bio(to_server, to_client, server_side=True)
    done = set()
    for _ in range(10):
        for side in (client, server):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                pass
        if len(done) == 2:
            return client.getpeercert()["serialNumber"]
    raise SystemExit("no handshake")


authority = trustme.CA()
found = []
for before, after in (("ECDSA", "ECDSA"), ("ECDSA", "RSA"), ("RSA", "ECDSA")):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mail.example.org", key_type=trustme.KeyType[before]).configure_cert(context)
    old = served(context, authority)
    authority.issue_cert("mail.example.org", key_type=trustme.KeyType[after]).configure_cert(context)
    now = served(context, authority)
    found.append(f"{before}-{after}:".lower() + ("old" if now == old else "new"))
print(ssl.OPENSSL_VERSION, *found)
raise SystemExit(found != ["ecdsa-ecdsa:new", "ecdsa-rsa:old", "rsa-ecdsa:new"])
EOF
venv/bin/python renew.py
