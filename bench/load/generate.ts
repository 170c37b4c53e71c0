/**
 * The load generator where there is no wrk: so many keep-alive connections, each with one request under way. It takes the
 * settings (`Load`) as JSON and prints what it saw (`LoadResult`). Every answer must be 200 with the body that is expected.
 */
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { body, target } from '../runtime.ts'
import type { Load, LoadResult } from './wrk.ts'

const load = JSON.parse(process.argv[2] as string) as Load
const head = `GET ${target} HTTP/1.1\r\nHost: 127.0.0.1:${load.port}\r\n`
const requests =
  load.tokens === null
    ? [`${head}\r\n`]
    : readFileSync(load.tokens, 'latin1')
        .trimEnd()
        .split('\n')
        .map(token => `${head}Authorization: Bearer ${token}\r\n\r\n`)
const result: LoadResult = { requests: 0, bytes: 0, failures: 0, seconds: load.seconds }
let at = 0

function openConnection(): void {
  const socket = connect(load.port, '127.0.0.1')
  let answer = ''
  socket.setNoDelay(true).setEncoding('latin1')
  socket.on('connect', () => sendNext(socket))
  socket.on('data', text => {
    answer += text
    result.bytes += text.length
    const end = endOfAnswer(answer)
    if (end === -1) return
    result.requests++
    if (!answer.startsWith('HTTP/1.1 200 ') || !answer.includes(body)) result.failures++
    answer = answer.slice(end)
    sendNext(socket)
  })
  socket.on('error', () => result.failures++)
}

function sendNext(socket: Socket): void {
  socket.write(requests[at++ % requests.length] as string)
}

/** Where an answer ends; -1 while it has not. */
function endOfAnswer(answer: string): number {
  const bodyAt = answer.indexOf('\r\n\r\n') + 4
  if (bodyAt === 3) return -1
  const length = /\r\ncontent-length: *(\d+)/i.exec(answer.slice(0, bodyAt))?.[1]
  if (length !== undefined) return answer.length >= bodyAt + Number(length) ? bodyAt + Number(length) : -1
  const last = answer.indexOf('\r\n0\r\n\r\n', bodyAt - 2)
  return last === -1 ? -1 : last + 7
}

for (let i = 0; i < load.connections; i++) openConnection()
setTimeout(() => {
  process.stdout.write(`${JSON.stringify(result)}\n`)
  process.exit()
}, load.seconds * 1000)
