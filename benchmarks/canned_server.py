"""A server that gives every chat the same reply after a fixed time: what is measured against it is the client.

    python benchmarks/canned_server.py [--latency 0.2]

It prints its address and serves until it is ended. It reads of a request where it ends and what kind of chat it is, no
more, for a fraction of the CPU that the tests' mock server takes: in a burst of 600 calls that would be a latency of
its own. GET /stats tells how many chats there were and the most that were in flight.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
from typing import Any

MODELS = {"data": [{"id": "canned"}]}
LABELS = [{"token": str(label), "logprob": -2.0 + 0.1 * label} for label in range(1, 8)]
WORDS = [" because", " it", " is", " kind", " and", " honest", ",", " I", " would", " say", "."]


def http(body: Any) -> bytes:
    data = json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data)


def reply(words: list[str], *, logprobs: bool) -> bytes:
    """These words, with the probabilities of the labels at each where they are asked for."""
    tokens = [{"token": token, "logprob": -1.3, "top_logprobs": LABELS} for token in words]
    usage = {"prompt_tokens": 100, "completion_tokens": len(words)}
    choice = {"message": {"content": "".join(words)}, "finish_reason": "stop"}
    told = {"logprobs": {"content": tokens}} if logprobs else {}
    return http({"choices": [{**choice, **told}], "usage": usage})


ANSWER, REVIEW, RATING = reply(WORDS, logprobs=False), reply(["7", *WORDS], logprobs=True), reply(["7"], logprobs=True)


class Canned(asyncio.Protocol):
    """One connection. The counts are those of all."""

    latency = 0.0
    chats = in_flight = peak = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.received = transport, b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end or len(body) < length(head):
            return
        self.received = b""
        if head.startswith(b"POST /v1/chat/completions"):
            Canned.chats, Canned.in_flight = Canned.chats + 1, Canned.in_flight + 1
            Canned.peak = max(Canned.peak, Canned.in_flight)
            asyncio.get_running_loop().call_later(Canned.latency, self.answer, reply_to(body))
        elif head.startswith(b"GET /stats"):
            self.transport.write(http({"chats": Canned.chats, "peak": Canned.peak}))  # type: ignore[attr-defined]
        else:
            self.transport.write(http(MODELS))  # type: ignore[attr-defined]

    def answer(self, canned: bytes) -> None:
        Canned.in_flight -= 1
        self.transport.write(canned)  # type: ignore[attr-defined]


def length(head: bytes) -> int:
    found = head.partition(b"Content-Length: ")[2]
    return int(found.split(b"\r\n", 1)[0]) if found else 0


def reply_to(body: bytes) -> bytes:
    """An observer asks for one token, and for room before it where no start can be forced."""
    asked = body.replace(b": ", b":")
    if b'"logprobs":true' not in asked:
        return ANSWER
    return RATING if b'"max_tokens":9,' in asked or b'"max_tokens":1,' in asked else REVIEW


async def serve(latency: float) -> None:
    Canned.latency = latency
    server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", 0, backlog=8192)
    host, port = server.sockets[0].getsockname()
    print(f"http://{host}:{port}", flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds before each reply")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(serve(options.latency))


if __name__ == "__main__":
    main()
