"""A server that is told of holds, as apprise's `json://` tells."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Self


@dataclass
class Told:
    """What was told: path, title and text of each message. Paths in `down` get an error. Before a
    message is answered, `meanwhile` is called."""

    got: list[tuple[str, str, str]] = field(default_factory=list)
    down: set[str] = field(default_factory=set)
    meanwhile: Callable[[], object] = lambda: None

    def __enter__(self) -> Self:
        told = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                is_down = self.path in told.down
                if not is_down:
                    told.got.append((self.path, said["title"], said["message"]))
                told.meanwhile()
                self.send_response(500 if is_down else 200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def url(self, path: str) -> str:
        return f"json://anna:secret@127.0.0.1:{self.server.server_port}/{path}"
