"""A service that answers nobody but the gateway.

Runs with `pip install pyjwt[crypto]`, then: GATEWAY=... UPSTREAM=... python server.py
"""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt

GATEWAY = os.environ["GATEWAY"]
UPSTREAM = os.environ["UPSTREAM"]
# Fetched once and kept for five minutes; asked again for a key that is not known.
KEYS = jwt.PyJWKClient(
    os.environ.get("JWKS", GATEWAY + "/.well-known/sallyport/jwks.json"), timeout=5
)


def caller(identity):
    """The claims of who a request is from. Raises jwt.PyJWTError for everything that the gateway has not signed for us."""
    key = KEYS.get_signing_key_from_jwt(identity)
    return jwt.decode(
        identity,
        key,
        algorithms=["ES256"],
        issuer=GATEWAY,
        audience=UPSTREAM,
        leeway=5,
        options={"require": ["exp", "sub"]},
    )


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        try:
            claims = caller(self.headers.get("X-Sallyport-Identity", ""))
        except jwt.PyJWTError:
            # Not through the gateway, or not for this service: nothing is said about why.
            self.answer(401, b"")
            return
        body = {"caller": claims["sub"], "groups": claims.get("groups", [])}
        self.answer(200, json.dumps(body).encode())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Service)
print(f"listening on {server.server_port}", flush=True)
server.serve_forever()
