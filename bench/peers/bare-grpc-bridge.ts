/**
 * A gRPC proxy of node:http2 alone, stream to stream: what any gateway on Node has to pay. It checks nothing, and has one
 * session. `node bare-grpc-bridge.ts PORT UPSTREAM_PORT`
 */
import { connect, constants, createServer, type Http2Server, type ServerHttp2Stream } from 'node:http2'

/** Opens the bridge's listener on loopback; the caller waits for `listening`. */
export function bareGrpcBridge(port: number, upstreamPort: number): Http2Server {
  const session = connect(`http://127.0.0.1:${upstreamPort}`)
  const server = createServer()
  session.on('error', ignore)
  server.on('close', () => session.close())
  server.on('stream', (down: ServerHttp2Stream, head, flags) => {
    const up = session.request(head, { endStream: (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0 })
    let trailers = {}
    up.on('response', (answer, flags) => {
      if ((flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0) return down.respond(answer, { endStream: true })
      down.respond(answer, { waitForTrailers: true })
      down.on('wantTrailers', () => down.sendTrailers(trailers))
      up.pipe(down)
    })
    up.on('trailers', fields => {
      trailers = fields
    })
    up.on('close', () => up.rstCode === 0 || down.close(up.rstCode))
    down.on('close', () => up.close(down.rstCode || constants.NGHTTP2_CANCEL))
    up.on('error', ignore)
    down.on('error', ignore)
    down.pipe(up)
  })
  return server.listen(port, '127.0.0.1')
}

function ignore(): void {}

if (import.meta.main) {
  const [port, upstreamPort] = process.argv.slice(2).map(Number)
  bareGrpcBridge(port as number, upstreamPort as number)
}
