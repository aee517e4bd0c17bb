"""A proxy on loopback between an HTTP client and its server, which does to them what networks do.

`Host` is handed on as it came, so that signed requests stay valid. The digest of a body that is
part of a signature is verified as AWS does it, since neither of our test servers does.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECE_BYTES = 1 << 16
HOP_BY_HOP = {"connection", "expect", "keep-alive", "transfer-encoding"}


class How(Enum):
    SAY = auto()
    """Answer with an error, and do not hand the request on."""

    CUT_REQUEST = auto()
    """End the connection in the middle of the request's body."""

    CUT_ANSWER = auto()
    """End the connection in the middle of the answer's body."""

    LOSE_ANSWER = auto()
    """Hand the request on, and end the connection instead of answering."""

    CHANGE_REQUEST = auto()
    """Change a byte of the request's body."""

    CHANGE_ANSWER = auto()
    """Change a byte of the answer's body."""

    HOLD = auto()
    """Do not answer before `go` is set."""


@dataclass
class Fault:
    """Happens to the next `times` requests whose line (`PUT /bucket/key?query`) matches; `hit` is
    the last of them."""

    how: How
    line: str
    times: int = 1
    status: int = 500
    code: str = "InternalError"
    hit: str = ""


@dataclass
class Proxy:
    upstream: str
    endpoint: str = ""
    faults: list[Fault] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def will(self, how: How, line: str, **more: object) -> Fault:
        self.faults.append(Fault(how, line, **more))  # type: ignore[arg-type]
        return self.faults[-1]

    def say(self, status: int, code: str, line: str, times: int = 1) -> Fault:
        return self.will(How.SAY, line, status=status, code=code, times=times)

    def asked(self, pattern: str) -> list[str]:
        """The lines of the requests that match, in order."""
        return [line for line in self.lines if re.search(pattern, line)]

    def take(self, line: str) -> Fault | None:
        with self.lock:
            self.lines.append(line)
            for fault in self.faults:
                if fault.times and re.search(fault.line, line):
                    fault.times -= 1
                    fault.hit = line
                    return fault
        return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def log_message(self, *args: object) -> None:
        pass

    def _any(self) -> None:
        fault = self.proxy.take(f"{self.command} {self.path}")
        how = fault and fault.how
        size = int(self.headers.get("Content-Length") or 0)
        if how is How.CUT_REQUEST:
            self.rfile.read(size // 2)
            self.close_connection = True
            return
        body = self.rfile.read(size)
        if how is How.CHANGE_REQUEST:
            body = _changed(body)
        signed = self.headers.get("x-amz-content-sha256", "")
        if len(signed) == 64 and hashlib.sha256(body).hexdigest() != signed:
            fault, how = Fault(How.SAY, "", status=400, code="XAmzContentSHA256Mismatch"), How.SAY
        if fault and how is How.SAY:
            self._say(fault)
        elif how is How.HOLD:
            self.proxy.go.wait(60)
            self.close_connection = True
        else:
            with suppress(OSError, HTTPException):
                self._hand_on(body, how)
                return
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _any  # noqa: N815

    def _say(self, fault: Fault) -> None:
        text = f"<Error><Code>{fault.code}</Code><Message>told to</Message></Error>".encode()
        self.send_response(fault.status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def _hand_on(self, body: bytes, how: How | None) -> None:
        host, _, port = self.proxy.upstream.removeprefix("http://").partition(":")
        connection = HTTPConnection(host, int(port), timeout=60)
        try:
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                if name.lower() not in HOP_BY_HOP:
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            data = answer.read()
            if how is How.LOSE_ANSWER:
                self.close_connection = True
                return
            self.send_response_only(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in HOP_BY_HOP | {"content-length"}:
                    self.send_header(name, value)
            length = answer.getheader("Content-Length")
            self.send_header(
                "Content-Length", length if self.command == "HEAD" and length else str(len(data))
            )
            self.end_headers()
            if how is How.CUT_ANSWER:
                data = data[: len(data) // 2]
                self.close_connection = True
            self.wfile.write(_changed(data) if how is How.CHANGE_ANSWER else data)
        finally:
            connection.close()


def _changed(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1]) if data else data


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *args: object) -> None:
        """A client that is gone is no news."""


@contextmanager
def proxying(upstream: str) -> Iterator[Proxy]:
    proxy = Proxy(upstream)
    server = Server(("127.0.0.1", 0), type("ProxyHandler", (Handler,), {"proxy": proxy}))
    proxy.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.go.set()
        server.shutdown()
        thread.join()
        server.server_close()
