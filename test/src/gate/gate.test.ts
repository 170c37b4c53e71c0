import type { IncomingMessage } from 'node:http'
import t from 'tap'
import { judgeRequest, requestTraits, traits } from '../../../src/gate/gate.ts'

const options = { maxHeaderCount: 100, maxPathBytes: 8192 }

function parsed(url: string, ...rawHeaders: string[]): IncomingMessage {
  const headers = ['Host', 'a.test', ...rawHeaders]
  return {
    httpVersionMajor: 1,
    httpVersionMinor: 1,
    method: 'GET',
    url,
    rawHeaders: headers,
    headers: Object.fromEntries(pairs(headers))
  } as unknown as IncomingMessage
}

function pairs(raw: string[]): [string, string][] {
  return raw.flatMap((name, i): [string, string][] =>
    i % 2 === 0 ? [[name.toLowerCase(), raw[i + 1]!]] : []
  )
}

t.test('a good request carries no traits', async t => {
  const request = parsed('/orders', 'Accept', '*/*')
  t.equal(judgeRequest(request, options), null)
  t.equal(requestTraits(request), 0)
})

t.test('underscores and escapes are left for the route to decide', async t => {
  const request = parsed('/a%2fb', 'x_tenant', 'a')
  t.equal(judgeRequest(request, options), null)
  t.equal(requestTraits(request), traits.underscores | traits.encodedSlash)
})

t.test('an underscore never disguises a protected field', async t => {
  for (const name of [
    'x_forwarded_for',
    'X_Sallyport_Identity',
    'content_length',
    'Transfer_Encoding',
    'cookie_',
    'x_real_ip'
  ]) {
    const refusal = judgeRequest(parsed('/', name, '1'), options)
    if (name === 'cookie_') t.equal(refusal, null)
    else t.match(refusal, { status: 400, reason: 'request.malformed' }, name)
  }
})

t.test('absolute-form becomes origin-form, once and for all', async t => {
  const request = parsed('HTTP://A.test?a=b')
  t.equal(judgeRequest(request, options), null)
  t.equal(request.url, '/?a=b')
})

t.test('refusals say why, for the log', async t => {
  const refusal = judgeRequest(parsed('/a/../b'), options)
  t.match(refusal, {
    status: 400,
    reason: 'request.malformed',
    code: 'SP_REQUEST_MALFORMED',
    detail: /canonical/
  })
  t.equal(judgeRequest(parsed('/a/../b'), options), refusal, 'and are made once')
})

t.test('Connection may name what is hop by hop anyway', async t => {
  for (const value of ['close', 'Keep-Alive', 'Upgrade, HTTP2-Settings', 'TE, close', 'x-private', '', ',']) {
    t.equal(judgeRequest(parsed('/', 'Connection', value), options), null, value)
  }
})
