/** The upstream where there is no nginx: answers 1 KB to everything. `node upstream.ts PORT` */
import { createServer } from 'node:http'
import { body } from '../../runtime.ts'

const port = Number(process.argv[2])
const headers = { 'content-type': 'text/plain', 'content-length': Buffer.byteLength(body) }

createServer((_request, response) => response.writeHead(200, headers).end(body)).listen({
  port,
  host: '127.0.0.1',
  backlog: 1024
})
