"""A real HTTP server on 127.0.0.1 whose files can be broken off, refused, or changed on the way."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class Page:
    """A file; each of `faults` spoils one request: a status to answer, `cut=N`: the connection
    ends after N bytes, or `hold=N`: after N bytes nothing comes until `go` is set. A server that
    is not `careful` does not heed If-Range; it may also give less than it was asked for (`part_max`
    bytes at once), or not say which part it gives (`says`). `retry_after` goes with each status."""

    data: bytes
    etag: str = ""
    last_modified: str = ""
    ranges: bool = True
    lengths: bool = True
    faults: list[int | str] = field(default_factory=list)
    redirect: str = ""
    careful: bool = True
    part_max: int = 0
    says: bool = True
    retry_after: str = ""
    go: threading.Event = field(default_factory=threading.Event)


@dataclass
class Request:
    path: str
    range: str
    if_range: str
    asks_for_news: bool = False


class Site:
    """What the server has, by path, and what it was asked for."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.pages: dict[str, Page] = {}
        self.requests: list[Request] = []

    def put(self, path: str, data: bytes, **more: object) -> str:
        self.pages[path] = Page(data, **more)  # type: ignore[arg-type]
        return f"{self.address}/{path}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        name = urlsplit(self.path).path.lstrip("/")
        wanted, condition = self.headers.get("Range", ""), self.headers.get("If-Range", "")
        known = self.headers.get("If-None-Match") or self.headers.get("If-Modified-Since")
        self.site.requests.append(Request(self.path, wanted, condition, bool(known)))
        page = self.site.pages.get(name)
        fault = page.faults.pop(0) if page and page.faults else None
        if page is None:
            self.answer(404)
        elif page.redirect:
            self.answer(302, {"Location": page.redirect})
        elif isinstance(fault, int):
            self.answer(fault, {"Retry-After": page.retry_after})
        else:
            self.give(page, wanted, condition, fault)

    def give(self, page: Page, wanted: str, condition: str, fault: str | None) -> None:
        headers = {"ETag": page.etag, "Last-Modified": page.last_modified}
        asked = self.headers.get("If-None-Match") or self.headers.get("If-Modified-Since")
        if asked in (page.etag or page.last_modified, page.last_modified) and asked:
            self.answer(304, headers)
            return
        start, end = 0, len(page.data)
        heeded = condition in ("", page.etag, page.last_modified) or not page.careful
        if page.ranges and wanted and heeded:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if start >= len(page.data):
                self.answer(416, {"Content-Range": f"bytes */{len(page.data)}"})
                return
            end = min(len(page.data), start + (page.part_max or len(page.data)))
            if page.says:
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(page.data)}"
        body = page.data[start:end]
        if page.lengths:
            headers["Content-Length"] = str(len(body))
        if fault and fault.startswith("hold="):
            size = int(fault.removeprefix("hold="))
            self.answer(206 if start else 200, headers, body[:size])
            page.go.wait(60)
            self.wfile.write(body[size:])
            return
        if fault:
            body = body[: int(fault.removeprefix("cut="))]
            self.close_connection = True
        self.answer(206 if start else 200, headers, body)

    def answer(self, code: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(code)
        for name, value in {"Content-Length": "0", **(headers or {})}.items():
            if value and not (
                name == "Content-Length" and headers and body and name not in headers
            ):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving() -> Iterator[Site]:
    handler = type("SiteHandler", (Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.site = Site(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield handler.site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
