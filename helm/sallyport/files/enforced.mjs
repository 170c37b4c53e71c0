// A pod that is not the gateway tries to get where only the gateway may go. A connection that is made is a failure: then the
// cluster's network does not enforce the policies, or not from the start of a pod.
import { lookup } from 'node:dns/promises'
import { connect } from 'node:net'

const targets = JSON.parse(process.env.TARGETS)
const timeout = Number(process.env.TIMEOUT_SECONDS) * 1000
// How network plugins say no, where they say anything.
const refusals = new Set(['EHOSTUNREACH', 'ENETUNREACH', 'EPERM', 'EACCES', 'ETIMEDOUT'])
// Enforcement begins some moments after a pod starts, and nothing says when: an open door counts when it stays open.
const patience = Date.now() + timeout * 3

// Names are resolved first: a name server that is silent must not pass for a door that is closed.
async function knock({ host, port }) {
  let address
  try {
    address = (await lookup(host)).address
  } catch (error) {
    return { verdict: 'unknown', why: `the name does not resolve (${error.code})` }
  }
  return await new Promise(resolve => {
    const socket = connect({ host: address, port })
    const end = (verdict, why) => {
      socket.destroy()
      resolve({ verdict, why })
    }
    socket.setTimeout(timeout, () => end('closed', `dropped, no answer in ${timeout / 1000} s`))
    socket.on('connect', () => end('open', 'a connection was made'))
    socket.on('error', error => end(refusals.has(error.code) ? 'closed' : 'unknown', error.code ?? error.message))
  })
}

async function judge(target) {
  let found = await knock(target)
  while (found.verdict === 'open' && Date.now() < patience) {
    await new Promise(resolve => setTimeout(resolve, 500))
    found = await knock(target)
  }
  return { ...target, ...found }
}

const results = await Promise.all(targets.map(judge))
for (const { name, host, port, verdict, why } of results) console.log(`${verdict.padEnd(7)} ${name} (${host}:${port}): ${why}`)

const open = results.filter(each => each.verdict === 'open')
const closed = results.filter(each => each.verdict === 'closed')
if (open.length > 0) {
  console.log(`FAILED: this pod is not the gateway, and yet it reached ${open.map(each => each.name).join(', ')}.`)
  console.log('The network plugin does not enforce NetworkPolicies, or another policy lets this pod in. Until that changes,')
  console.log('anybody in the cluster can walk around the gateway. Try `sallyport verify` to tell one from the other.')
  process.exit(1)
}
if (closed.length === 0) {
  console.log('FAILED: nothing could be tried: no target resolved and accepted or dropped a connection. Are the upstreams deployed?')
  process.exit(1)
}
console.log(`passed: ${closed.length} of ${results.length} doors are known to be closed to everybody but the gateway.`)
if (closed.length < results.length) console.log('The others say nothing: a refused connection or an unknown name is not the work of a policy.')
