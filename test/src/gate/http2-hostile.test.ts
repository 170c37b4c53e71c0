import t from 'tap'
import { hostileFrames } from '../../fixtures/hostile-http2.ts'
import { frameClient, head, headers, ping, type } from '../../fixtures/http2-frames.ts'
import { answerSeen, judgingHttp2Server } from '../../fixtures/judging-http2-server.ts'

t.test('hostile requests get what they may get, and the next good one is answered', async t => {
  let ended = 0
  let seen: string[] = []
  const { port, passed, front } = await judgingHttp2Server(t, {}, (request, response) => {
    seen = [...Object.keys(request.headers), ...request.rawHeaders]
    request.on('end', () => {
      if (request.method === 'POST') ended++
    })
    answerSeen(request, response)
  })
  for (const { name, frames, outcomes, begins, drops } of hostileFrames) {
    passed.length = 0
    ended = 0
    const client = frameClient(null, port)
    client.send(...frames)
    if (outcomes[0] === 'none') {
      client.send(ping())
      await client.find(each => each.type === type.ping && each.flags === 1)
    } else {
      const outcome = await client.outcome(1)
      t.equal(outcomes.includes(outcome), true, `${name}: ${outcome}, one of ${outcomes.join(', ')}`)
    }
    if (begins !== true)
      t.same(
        passed.filter(each => each !== '/ok'),
        [],
        `${name}: nothing is passed on`
      )
    t.equal(ended, 0, `${name}: no body ends`)
    if (drops) t.same(seen, ['host', 'host', 'api.example.com'], `${name}: the field is nowhere`)
    if (client.goaway() === null && !client.isClosed) {
      client.send(headers(7, head('/good')))
      t.equal(await client.outcome(7), '200', `${name}: then a good one on the same connection`)
    }
    client.destroy()
    const fresh = frameClient(null, port)
    fresh.send(headers(1, head('/good')))
    t.equal(await fresh.outcome(1), '200', `${name}: then a good one on a fresh connection`)
    fresh.destroy()
  }
  while (front.underWay > 0) await new Promise(resolve => setImmediate(resolve))
})
