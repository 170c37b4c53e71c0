import t from 'tap'
import { plugin, proxying } from '../fixtures/proxying.ts'
import { echo, upstream } from '../helper.ts'

/** A plugin that misbehaves costs its own request only: never the plugins behind it, never an answer, never the process. */

interface Row {
  /** Body of `register` of the first plugin; the second one denies everything. */
  register: string
  status: number
}

const onRequest = (body: string) => `route.addHook('onRequest', (request, reply, done) => { ${body} })`
const onRequestAsync = (body: string) => `route.addHook('onRequest', async (request, reply) => { ${body} })`

const rows: Record<string, Row> = {
  'throws null': { register: onRequest('throw null'), status: 500 },
  'throws undefined': { register: onRequest('throw undefined'), status: 500 },
  'throws 0': { register: onRequest('throw 0'), status: 500 },
  'throws an empty text': { register: onRequest(`throw ''`), status: 500 },
  'throws a symbol': { register: onRequest(`throw Symbol('x')`), status: 500 },
  'throws an object with a status of success': {
    register: onRequest('throw { statusCode: 200 }'),
    status: 500
  },
  'throws an error with a status of success': {
    register: onRequest(`throw Object.assign(new Error('secret'), { statusCode: 204 })`),
    status: 500
  },
  'rejects with nothing': { register: onRequestAsync('return Promise.reject()'), status: 500 },
  'rejects with null': { register: onRequestAsync('throw null'), status: 500 },
  'gives done a text': { register: onRequest(`done('secret')`), status: 500 },
  'denies for a reason that does not exist': {
    register: onRequest(`route.gateway.deny('secret')`),
    status: 500
  },
  'denies with a header that cannot be sent': {
    register: onRequest(`route.gateway.deny('policy.denied', { headers: { 'x-a': 'secret\\r\\nx-b: c' } })`),
    status: 403
  },
  'sets a header that cannot be sent': {
    register: onRequest(`reply.header('x-a', 'secret\\r\\nx-b: c'); done()`),
    status: 403
  },
  'throws when the request ends': {
    register: onRequest(`request.gateway.onEnd(() => { throw null }); done()`),
    status: 403
  },
  'throws as it hears of the outcome': {
    register: `route.gateway.onOutcome(() => { throw new Error('secret') })`,
    status: 403
  },
  'throws after done': { register: onRequest(`done(); throw new Error('secret')`), status: 403 },
  'calls done twice': { register: onRequest('done(); done()'), status: 403 },
  'throws null in a later hook': {
    register: `route.addHook('preHandler', (request, reply, done) => { throw null })`,
    status: 403
  }
}

for (const [name, { register, status }] of Object.entries(rows)) {
  t.test(`a plugin that ${name}`, async t => {
    let reached = 0
    const { url } = await upstream(t, (_request, response) => {
      reached++
      response.end()
    })
    const running = await proxying(t, url, {
      uses: 'bad, no',
      files: {
        'bad.mjs': plugin('guard', register),
        'no.mjs': plugin('limit', onRequest(`route.gateway.deny('policy.denied')`))
      }
    })
    const answer = await fetch(`${running.url}/orders`, { signal: AbortSignal.timeout(10_000) })
    const text = await answer.text()
    t.equal(answer.status, status)
    t.equal(reached, 0, 'nothing went upstream')
    t.notMatch(text, /secret/)
    t.notOk(answer.headers.get('x-b'))
    await running.recorder.ended(1)
    t.equal(await running.metric('sallyport_requests_in_flight{route="all"}'), 0)
  })
}

t.test('a later hook that throws null does not skip the later hooks of other plugins', async t => {
  const { url } = await echo(t)
  const running = await proxying(t, url, {
    uses: 'bad, no',
    files: {
      'bad.mjs': plugin('guard', `route.addHook('preHandler', (request, reply, done) => { throw null })`),
      'no.mjs': plugin('limit', `route.addHook('preHandler', () => { route.gateway.deny('policy.denied') })`)
    }
  })
  t.equal((await fetch(running.url)).status, 500)
})

t.test('a plugin cannot write the headers that say who asks, in any spelling', async t => {
  const { url } = await echo(t)
  const names = [
    'X-Forwarded-User',
    'x_forwarded_user',
    'X.Forwarded.Groups',
    'x~forwarded~email',
    'Forwarded'
  ]
  const changes = JSON.stringify(Object.fromEntries(names.map(name => [name, 'root'])))
  const running = await proxying(t, url, {
    uses: 'bad',
    files: {
      'bad.mjs': plugin('transform', onRequest(`request.gateway.upstreamHeaders = ${changes}; done()`))
    }
  })
  const seen = await (await fetch(running.url)).text()
  t.notMatch(seen, /root/)
})

t.test('a subject of any characters reaches the upstream, encoded', async t => {
  const { url } = await echo(t)
  const identity = `{ kind: 'custom', subject: 'a\\u{1f600}\\r\\nx-a: b', issuer: 'i', email: '\\ud800@é', scopes: [],
    groups: ['g,1', '\\u{1f600}'], roles: [], claims: {}, expiresAt: null }`
  const running = await proxying(t, url, {
    uses: 'who',
    files: {
      'who.mjs': plugin('guard', onRequest(`request.gateway.identity = ${identity}; done()`))
    }
  })
  const answer = await fetch(running.url)
  t.equal(answer.status, 200)
  const { headers } = (await answer.json()) as { headers: Record<string, string> }
  t.match(headers, {
    'x-forwarded-user': 'a%F0%9F%98%80%0D%0Ax-a:%20b',
    'x-forwarded-email': '%EF%BF%BD@%C3%A9',
    'x-forwarded-groups': 'g%2C1,%F0%9F%98%80'
  })
})
