import { parseArgs } from 'node:util'

/**
 * A WebSocket client as a browser is one, with nothing but what Node brings: `node examples/watch-prices.ts
 * ws://127.0.0.1:8080/prices/live`. Writes three messages and leaves.
 */
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { token: { type: 'string' } }
})
const [url = 'ws://127.0.0.1:8080/prices/live'] = positionals
const messages = 3

const headers = values.token === undefined ? {} : { authorization: `Bearer ${values.token}` }
const socket = new WebSocket(url, { protocols: ['prices.v1'], headers })
let received = 0

socket.addEventListener('open', () => console.log(`open, ${socket.protocol}`))
socket.addEventListener('message', ({ data }) => {
  console.log(data)
  if (++received === messages) socket.close(1000)
})
socket.addEventListener('error', () => console.log('refused'))
socket.addEventListener('close', ({ code }) => console.log(`closed, ${code}`))
