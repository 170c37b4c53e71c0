/** The least that a proxy on Node can do: node:http and undici's dispatch. `node undici.ts PORT UPSTREAM_PORT` */
import { createServer, type ServerResponse } from 'node:http'
import { type Dispatcher, Pool } from 'undici'

const [port, upstreamPort] = process.argv.slice(2).map(Number)
const pool = new Pool(`http://127.0.0.1:${upstreamPort}`, { pipelining: 1 })

class Copy {
  readonly response: ServerResponse

  constructor(response: ServerResponse) {
    this.response = response
  }

  onConnect(): void {}

  onHeaders(status: number, raw: Buffer[]): boolean {
    const headers: string[] = []
    for (let i = 0; i < raw.length; i += 2) {
      const name = String(raw[i])
      if (name.toLowerCase() !== 'connection') headers.push(name, String(raw[i + 1]))
    }
    this.response.writeHead(status, headers)
    return true
  }

  onData(chunk: Buffer): boolean {
    return this.response.write(chunk)
  }

  onComplete(): void {
    this.response.end()
  }

  onError(): void {
    this.response.destroy()
  }
}

createServer((request, response) => {
  const { connection: _, ...headers } = request.headers
  const options = { path: request.url as string, method: request.method as Dispatcher.HttpMethod, headers }
  pool.dispatch(options, new Copy(response))
}).listen({ port, host: '127.0.0.1', backlog: 1024 })
