"""Serves a folder over HTTP with ranges, which GDAL needs and Python's own server lacks.

Prints its port. Not a test: run as a script by the tests.
"""

from __future__ import annotations

import http.server
import re
import sys
from functools import partial
from pathlib import Path


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Answers GET with the part asked for."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        end = min(int(asked[2] or len(content)), len(content) - 1) if asked else len(content) - 1
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Range", f"bytes {start}-{end}/{len(content)}")
        self.send_header("Content-Length", str(end - start + 1))
        self.end_headers()
        self.wfile.write(content[start : end + 1])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Ranges, directory=sys.argv[1])
    )
    print(server.server_port, flush=True)
    server.serve_forever()
