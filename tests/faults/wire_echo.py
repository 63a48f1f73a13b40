"""A server in a process of its own that sends each payload back, and says on request what it has seen.

    wire_echo.py HOST=PUBLIC_KEY...

Prints its endpoint and its public key. For each line on its standard input it prints its counts, as JSON;
it ends with its standard input.
"""

from __future__ import annotations

import json
import os
import select
import sys

from mailhaul.proto.structs import asdict
from mailhaul.proto.wire.envelopes import MOST_DATA_BYTES, Bytes, Data, Ping, Pong
from mailhaul.proto.wire.keys import new_pair
from mailhaul.proto.wire.server import Server
from mailhaul.proto.wire.sockets import Timing


def main() -> None:
    allowed = {key: host for host, _, key in (argument.partition("=") for argument in sys.argv[1:])}
    keys = new_pair()
    with Server(
        "tcp://127.0.0.1:0",
        keys,
        lambda: allowed,
        most_payload_bytes=MOST_DATA_BYTES,
        timing=Timing(handshake=2.0),
    ) as server:
        print(json.dumps([server.endpoint, keys.public]), flush=True)
        while True:
            for _ in range(100):
                received = server.receive(0.02)
                if received is None:
                    break
                envelope = received.envelope
                if isinstance(envelope, Data):
                    back = Bytes(envelope.stream, envelope.offset)
                    server.send(received.client, back, bytes(received.payload[: 1 << 20]))
                elif isinstance(envelope, Ping):
                    server.send(received.client, Pong(envelope.number))
            if select.select([sys.stdin], [], [], 0)[0]:
                if not os.read(0, 1):
                    return
                print(json.dumps(asdict(server.counts), default=asdict), flush=True)


if __name__ == "__main__":
    main()
