// Sends requests until standard input ends, half of them on connections of their own, and counts those that were not answered
// with 200. No request is repeated: whoever reads the number sees what a client saw that does not try twice.
import { lookup } from 'node:dns/promises'
import { Agent, get } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'

const { host, path, headers } = JSON.parse(process.argv[1])
// Name servers are not what is measured.
const { address } = await lookup(host)
const kept = new Agent({ keepAlive: true })
const counts = { sent: 0, failed: 0, failures: {} }
let isOver = false

function ask(agent) {
  return new Promise(resolve => {
    const request = get({ host: address, path, headers, agent, timeout: 10_000 }, response => {
      response.resume().on('end', () => resolve(String(response.statusCode)))
      response.on('error', ({ code }) => resolve(`${code} in the answer`))
    })
    request.on('timeout', () => request.destroy(Object.assign(new Error(), { code: 'no answer' })))
    request.on('error', ({ code }) =>
      resolve(`${code} on ${request.reusedSocket ? 'a kept' : 'a new'} connection`)
    )
  })
}

async function work(agent) {
  while (!isOver) {
    const outcome = await ask(agent)
    if (++counts.sent === 100) console.log(JSON.stringify(counts))
    if (outcome !== '200') {
      counts.failed++
      counts.failures[outcome] = (counts.failures[outcome] ?? 0) + 1
    }
    await pause(10)
  }
}

process.stdin.resume().on('end', () => {
  isOver = true
})
await Promise.all([kept, kept, kept, kept, false, false, false, false].map(work))
console.log(JSON.stringify(counts))
process.exit()
