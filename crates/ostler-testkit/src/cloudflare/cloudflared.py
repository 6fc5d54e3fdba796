#!/usr/bin/python3
"""A STAND-IN FOR cloudflared, for tests. It is not Cloudflare's program and speaks only to the fake edge of Ostler's tests.

It takes what Ostler calls, refuses what would show a secret or update itself, and really carries the connections.
"""

import base64
import contextlib
import json
import os
import socket
import sys
import threading
import time

VERSION = "2026.9.3"
# Written over where a copy is installed for one edge.
EDGE_OF_THIS_COPY = ""


def main(words):
    if words == ["--version"]:
        print(f"cloudflared version {VERSION} (stand-in of Ostler's tests)")
    elif words[:2] == ["access", "ssh"]:
        access_ssh(words[2:])
    elif "tunnel" in words and "run" in words:
        run(words)
    else:
        refuse(f"the stand-in does not know `{' '.join(words)}`")


def refuse(why):
    sys.exit(f"cloudflared (stand-in): {why}")


def run(words):
    if "--no-autoupdate" not in words:
        refuse("without --no-autoupdate it would replace itself")
    rest = [word for word in words if word != "--no-autoupdate"]
    if rest[:2] != ["tunnel", "run"] or len(rest) != 4 or rest[2] != "--token-file":
        refuse("call it as `--no-autoupdate tunnel run --token-file FILE`: a token in the arguments can be read by everybody")
    status = os.stat(rest[3])
    if status.st_mode & 0o077 or status.st_uid != os.geteuid():
        refuse(f"others can read {rest[3]}")
    with open(rest[3], encoding="ascii") as file:
        token = json.loads(base64.b64decode(file.read().strip(), validate=True))
    while True:
        try:
            connect_out(token)
        except OSError as error:
            print(f"ERR no connection to the edge: {error}", file=sys.stderr, flush=True)
        time.sleep(0.5)


def connect_out(token):
    edge = dial(token["e"])
    send(edge, {"tunnel": token["t"], "secret": token["s"], "version": VERSION})
    answer = read_line(edge)
    if "error" in answer:
        raise OSError(answer["error"])
    print("INF Registered tunnel connection connIndex=0", file=sys.stderr, flush=True)
    notify("READY=1")
    while True:
        order = read_line(edge)
        threading.Thread(target=carry, args=(token["e"], order), daemon=True).start()


def notify(words):
    """Tells systemd, as the real one does."""
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bus:
            bus.sendto(words.encode(), "\0" + path[1:] if path.startswith("@") else path)


def carry(edge, order):
    try:
        service = dial(order["service"].removeprefix("ssh://"))
    except OSError as error:
        print(f"ERR {order['service']}: {error}", file=sys.stderr, flush=True)
        return
    stream = dial(edge)
    send(stream, {"stream": order["stream"]})
    with stream, service:
        thread = join(stream.fileno(), stream.fileno(), service)
        # Wakes the thread that still reads there, so that its descriptor is not closed under it.
        with contextlib.suppress(OSError):
            stream.shutdown(socket.SHUT_RDWR)
        thread.join()


def access_ssh(words):
    if len(words) != 2 or words[0] != "--hostname":
        refuse("call it as `access ssh --hostname NAME`, with the service token in the environment")
    edge = dial(os.environ.get("STAND_IN_EDGE") or EDGE_OF_THIS_COPY)
    token = {"id": os.environ.get("TUNNEL_SERVICE_TOKEN_ID", ""), "secret": os.environ.get("TUNNEL_SERVICE_TOKEN_SECRET", "")}
    send(edge, {"hostname": words[1], **token})
    answer = read_line(edge)
    if "error" in answer:
        refuse(f"failed to connect to origin error=\"{answer['error']}\" originURL=https://{words[1]}")
    join(0, 1, edge)


def dial(address):
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=None)


def send(stream, words):
    stream.sendall(json.dumps(words).encode() + b"\n")


def read_line(stream):
    """Byte by byte, so that nothing after it is swallowed."""
    line = b""
    while not line.endswith(b"\n"):
        byte = stream.recv(1)
        if not byte:
            raise OSError("the edge hung up")
        line += byte
    return json.loads(line)


def join(near_in, near_out, far):
    """Carries both ways until the far side has said its last; `near_in` and `near_out` are file descriptors."""

    def up():
        pump(near_in, far.fileno())
        # A far side that is gone already needs no word.
        with contextlib.suppress(OSError):
            far.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=up, daemon=True)
    thread.start()
    pump(far.fileno(), near_out)
    return thread


def pump(source, sink):
    with contextlib.suppress(OSError):
        while data := os.read(source, 65536):
            while data:
                data = data[os.write(sink, data) :]


if __name__ == "__main__":
    main(sys.argv[1:])
