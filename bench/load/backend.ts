import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Backend {
  readonly url: string
  /** Connections that were ever made to it. */
  readonly connections: number
  close(): Promise<void>
}

/** An upstream for load: answers with the size of the body that it got; every `/slow` after 50 ms and in two parts. */
export async function startBackend(): Promise<Backend> {
  const server = createServer(answer)
  // Never the first to close an idle connection: that race is not what is measured.
  server.keepAliveTimeout = 0
  let connections = 0
  server.on('connection', () => connections++)
  server.listen(0, '127.0.0.1', 1024)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    get connections() {
      return connections
    },
    async close() {
      server.close()
      server.closeAllConnections()
    }
  }
}

function answer(request: IncomingMessage, response: ServerResponse): void {
  let size = 0
  request.on('data', (chunk: Buffer) => {
    size += chunk.length
  })
  request.on('end', () => {
    if (request.url !== '/slow') {
      response.end(`${size} bytes`)
      return
    }
    response.write(`${size} `)
    setTimeout(() => response.end('bytes'), 50)
  })
}
