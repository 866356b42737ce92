"""A node that sends every WebSocket message back as it came: python3 echo_node.py ENDPOINT NAME"""

import sys

import zmq

CAPABILITIES = b"binary"


def main(endpoint, name):
    node = zmq.Context().socket(zmq.DEALER)
    node.setsockopt(zmq.IDENTITY, name.encode())
    node.setsockopt(zmq.SNDHWM, 0)
    node.setsockopt(zmq.RCVHWM, 0)
    node.connect(endpoint)
    node.send_multipart([b"", b"pong", CAPABILITIES])
    while True:
        message = node.recv_multipart()
        if message[1] == b"ping":
            node.send_multipart([b"", b"pong", CAPABILITIES])
        elif message[1].startswith(b"websocket/"):
            node.send_multipart(message)


if __name__ == "__main__":
    main(*sys.argv[1:])
