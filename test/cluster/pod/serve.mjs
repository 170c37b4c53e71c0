// A workload: answers on every port of PORTS with what it was asked. With JWKS it is an issuer of tokens, over TLS.
import { createServer } from 'node:http'
import { createServer as createTlsServer } from 'node:https'

const { NAME, PORTS, JWKS, TLS_CERT, TLS_KEY } = process.env

function echo(request, response) {
  const { url: path, headers, socket } = request
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify({ name: NAME, port: socket.localPort, path, headers }))
}

function keys(_request, response) {
  response.setHeader('content-type', 'application/json')
  response.end(JWKS)
}

for (const port of PORTS.split(',').map(Number)) {
  const server = JWKS ? createTlsServer({ cert: TLS_CERT, key: TLS_KEY }, keys) : createServer(echo)
  server.listen(port)
}
// The first process of a container gets no default action for signals: without this, its end takes half a minute.
process.on('SIGTERM', () => process.exit())
