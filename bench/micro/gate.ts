/** What the gate costs: nanoseconds per well-formed request of ten header fields. `node bench/micro/gate.ts` */
import type { IncomingMessage } from 'node:http'
import { judgeRequest } from '../../src/gate/gate.ts'

const options = { maxHeaderCount: 100, maxPathBytes: 8192 }
const fields = [
  ['Host', 'api.example.com'],
  ['User-Agent', 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0'],
  ['Accept', 'application/json'],
  ['Accept-Language', 'en-GB,en;q=0.8'],
  ['Accept-Encoding', 'gzip, deflate, br'],
  ['Authorization', `Bearer ${'a'.repeat(600)}`],
  ['Content-Type', 'application/json'],
  ['Content-Length', '128'],
  ['Connection', 'keep-alive'],
  ['X-Request-Id', '7d9a5c1e-0d57-4b0c-9b0e-6a2e5b6f9c11']
]

/** Fresh strings each time, as a parser makes them: interned ones would compare by address. */
function parsedRequest(): IncomingMessage {
  const wire = Buffer.from(fields.map(pair => pair.join('\0')).join('\0'))
  return {
    httpVersionMajor: 1,
    httpVersionMinor: 1,
    method: 'POST',
    url: Buffer.from('/orders/7d9a5c1e-0d57-4b0c-9b0e-6a2e5b6f9c11/items?page=2&size=50').toString('latin1'),
    rawHeaders: wire.toString('latin1').split('\0')
  } as IncomingMessage
}

const requests = Array.from({ length: 256 }, parsedRequest)
const rounds = 2_000
let refused = 0
for (const label of ['warm-up', 'measured', 'measured']) {
  const start = process.hrtime.bigint()
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < requests.length; i++) if (judgeRequest(requests[i]!, options) !== null) refused++
  }
  const nanoseconds = Number(process.hrtime.bigint() - start) / (rounds * requests.length)
  console.log(`${label}: ${nanoseconds.toFixed(0)} ns per request`)
}
if (refused > 0) throw new Error(`${refused} requests were refused`)
