/** A gRPC server of node:http2 alone: sends every message back. `node grpc-upstream.ts PORT` */
import { createServer, type ServerHttp2Stream } from 'node:http2'

const head = { ':status': 200, 'content-type': 'application/grpc' }
const trailers = { 'grpc-status': '0' }
const withTrailers = { waitForTrailers: true }

createServer()
  .on('stream', (stream: ServerHttp2Stream) => {
    stream.respond(head, withTrailers)
    stream.on('wantTrailers', sendTrailers)
    // A call that was cancelled is no failure.
    stream.on('error', ignore)
    stream.pipe(stream)
  })
  .listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 1024 })

function sendTrailers(this: ServerHttp2Stream): void {
  this.sendTrailers(trailers)
}

function ignore(): void {}
