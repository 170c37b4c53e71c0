// One HTTP request. With `until` it is repeated until that status is answered, or `deadline` milliseconds are over.
import { get } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'

const { url, headers, until, timeout, deadline } = JSON.parse(process.argv[1])
const end = Date.now() + (deadline ?? 0)

function ask() {
  return new Promise(resolve => {
    const request = get(url, { headers, timeout, agent: false }, response => {
      let body = ''
      response.setEncoding('utf8').on('data', text => {
        body += text
      })
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body }))
      response.on('error', ({ code }) => resolve({ error: code }))
    })
    request.on('timeout', () => request.destroy(Object.assign(new Error(), { code: 'dropped' })))
    request.on('error', ({ code }) => resolve({ error: code }))
  })
}

let answer = await ask()
while (until !== undefined && answer.status !== until && Date.now() < end) {
  await pause(250)
  answer = await ask()
}
console.log(JSON.stringify(answer))
