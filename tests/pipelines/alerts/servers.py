"""Real servers that tests send to: SMTP and HTTP on loopback, which keep what they get."""

from __future__ import annotations

import socketserver
import threading
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class _Smtp(socketserver.StreamRequestHandler):
    """RFC 5321 as far as a client without extensions goes."""

    def handle(self) -> None:
        server: Any = self.server
        self._say("220 test")
        while line := self.rfile.readline():
            verb = line[:4].upper().strip()
            if verb == b"DATA":
                if server.sink.refuse:
                    server.sink.refuse -= 1
                    self._say("451 later")
                    continue
                self._say("354 go on")
                lines = []
                while (part := self.rfile.readline()) not in (b".\r\n", b""):
                    lines.append(part[1:] if part.startswith(b"..") else part)
                mail = message_from_bytes(b"".join(lines), policy=policy.default)
                server.sink.mails.append(mail)
                self._say("250 taken")
            elif verb == b"QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 test")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class SmtpSink:
    """`mails` has what arrived; the next `refuse` are put off."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.refuse = 0
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Smtp)
        self._server.daemon_threads = True
        self._server.sink = self  # type: ignore[attr-defined]
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Request(NamedTuple):
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes


class HttpSink:
    """`requests` has what arrived; `answers` are given first, then 200."""

    def __init__(self, port: int = 0) -> None:
        self.requests: list[Request] = []
        self.answers: list[int] = []
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {k.lower(): v for k, v in self.headers.items()}
                sink.requests.append(Request(self.path, headers, body))
                status = sink.answers.pop(0) if sink.answers else 200
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(b"restarted" if status == 200 else b"no")

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
