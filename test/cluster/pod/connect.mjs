// Tries to connect to every target at once: `open`, `refused` (packets went there and back, nobody listens), `dropped`, or an error.
import { connect } from 'node:net'

const { targets, timeout } = JSON.parse(process.argv[1])

function knock([host, port]) {
  return new Promise(resolve => {
    const socket = connect({ host, port })
    const end = verdict => {
      socket.destroy()
      resolve(verdict)
    }
    socket.setTimeout(timeout, () => end('dropped'))
    socket.on('connect', () => end('open'))
    socket.on('error', ({ code }) => end(code === 'ECONNREFUSED' ? 'refused' : code))
  })
}

console.log(JSON.stringify(await Promise.all(targets.map(knock))))
