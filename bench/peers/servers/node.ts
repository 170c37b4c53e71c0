/** A reverse proxy of node:http alone: `node node.ts PORT UPSTREAM_PORT`. */
import { Agent, createServer, request as send } from 'node:http'

const [port, upstreamPort] = process.argv.slice(2).map(Number)
const agent = new Agent({ keepAlive: true })

createServer((incoming, response) => {
  const { connection: _, host, ...headers } = incoming.headers
  const outgoing = send(
    {
      agent,
      host: '127.0.0.1',
      port: upstreamPort,
      method: incoming.method,
      path: incoming.url,
      headers: { ...headers, 'x-forwarded-for': incoming.socket.remoteAddress, 'x-forwarded-host': host }
    },
    answer => {
      const { connection: _, 'keep-alive': __, ...returned } = answer.headers
      response.writeHead(answer.statusCode ?? 502, returned)
      answer.pipe(response)
    }
  )
  outgoing.on('error', () => response.destroy())
  incoming.pipe(outgoing)
}).listen({ port, host: '127.0.0.1', backlog: 1024 })
