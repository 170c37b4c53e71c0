// The gateway answers: any HTTP answer will do, because what a route says is not ours to judge.
import { connect } from 'node:net'

const url = new URL(process.env.URL)
const deadline = Date.now() + Number(process.env.TIMEOUT_SECONDS) * 1000 * 5

async function ask() {
  if (url.protocol === 'http:') return `status ${(await fetch(url, { redirect: 'manual', signal: AbortSignal.timeout(2000) })).status}`
  const port = Number(url.port) || 443
  return await new Promise((resolve, reject) => {
    const socket = connect({ host: url.hostname, port }, () => resolve('a connection'))
    socket.setTimeout(2000, () => socket.destroy(new Error('timeout')))
    socket.on('error', reject)
  })
}

for (;;) {
  try {
    console.log(`passed: ${url} answers with ${await ask()}`)
    process.exit(0)
  } catch (error) {
    if (Date.now() > deadline) {
      console.log(`FAILED: ${url} does not answer: ${error.cause?.message ?? error.message}`)
      console.log('Look at the gateway: kubectl logs, and whether perimeter.gateway.from lets this namespace in.')
      process.exit(1)
    }
    await new Promise(resolve => setTimeout(resolve, 500))
  }
}
