import { Writable } from 'node:stream'
import t from 'tap'
import { createLog } from '../../src/log.ts'

function logged(write: (log: ReturnType<typeof createLog>) => void): string {
  let text = ''
  const stream = new Writable({
    write(chunk, _encoding, done) {
      text += chunk
      done()
    }
  })
  write(createLog('trace', stream))
  return text
}

t.test('an error is its type, message, code, stack and causes, and nothing that hangs on it', async t => {
  const cause = Object.assign(new TypeError('inner'), { code: 'E_INNER', headers: { cookie: 'c4nary' } })
  const err = Object.assign(new Error('outer', { cause }), { request: { headers: 'c4nary' } })
  const line = JSON.parse(logged(log => log.error({ err }, 'oh')))
  t.match(line.err, {
    type: 'Error',
    message: 'outer',
    stack: /log\.test/,
    cause: { message: 'inner', code: 'E_INNER' }
  })
  t.notMatch(JSON.stringify(line), 'c4nary')
})

t.test('what is thrown and is no error is not shown', async t => {
  t.match(JSON.parse(logged(log => log.error({ err: 'c4nary' }))), { err: { type: 'string' } })
  t.notMatch(
    logged(log => log.error({ err: 'c4nary' })),
    'c4nary'
  )
})

t.test('a circle of causes ends', async t => {
  const err = new Error('round')
  err.cause = err
  t.match(JSON.parse(logged(log => log.error({ err }))), { err: { cause: { cause: { message: 'round' } } } })
})

t.test('a request that somebody logs is its method', async t => {
  const request = { method: 'GET', url: '/?c4nary', headers: { authorization: 'c4nary' } }
  t.match(JSON.parse(logged(log => log.info({ req: request, request }))), { req: { method: 'GET' } })
  t.notMatch(
    logged(log => log.info({ req: request, request })),
    'c4nary'
  )
})

t.test('names that hold secrets are redacted', async t => {
  for (const name of ['authorization', 'cookie', 'secret', 'password', 'token'])
    t.notMatch(
      logged(log => log.info({ [name]: 'c4nary' })),
      'c4nary'
    )
  t.notMatch(
    logged(log => log.info({ headers: { authorization: 'c4nary', cookie: 'c4nary' } })),
    'c4nary'
  )
})
