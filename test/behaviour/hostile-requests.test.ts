import t from 'tap'
import { hostileHost, hostileRequests } from '../fixtures/hostile-requests.ts'
import { judgingServer } from '../fixtures/judging-server.ts'
import { type Frame, rawClient } from '../fixtures/raw.ts'

const good = `GET /good HTTP/1.1\r\nHost: ${hostileHost}\r\n\r\n`

t.test('every hostile request gets the answer that the table allows', async t => {
  const { port, passed } = await judgingServer(t)
  const uncaught: unknown[] = []
  process.on('uncaughtExceptionMonitor', error => uncaught.push(error))

  for (const row of hostileRequests) {
    await t.test(row.name, async t => {
      passed.length = 0
      const client = rawClient(t, port)
      client.send(row.bytes)
      let answer: Frame = await client.next()
      while (answer.status < 200) answer = await client.next()
      t.ok(row.statuses.includes(answer.status), `${answer.status} is one of ${row.statuses}`)

      if (answer.status === 200) {
        const { target } = JSON.parse(answer.body)
        t.equal(passed.length, 1)
        t.ok(
          row.bytes.includes(`${target} HTTP/1.`) || row.bytes.includes(`${target.slice(1)} HTTP/1.`),
          'the judged target is the one sent'
        )
      }
      if (row.closes) {
        if (answer.status !== 200) t.equal(answer.headers.connection, 'close')
        t.equal(await client.closed, null, 'closed, not reset')
        t.equal(client.unread(), '', 'and nothing after the answer')
      } else {
        client.send(good)
        t.equal((await client.next()).status, 200, 'the same connection still works')
      }
      const fresh = rawClient(t, port)
      fresh.send(good)
      t.equal((await fresh.next()).status, 200, 'a fresh connection works')
      client.destroy()
      fresh.destroy()
    })
  }
  t.same(uncaught, [])
})
