import t from 'tap'
import { Refusal, reasons } from '../../src/errors.ts'

t.test('every reason has a code of its own', async t => {
  const codes = Object.values(reasons).map(entry => entry.code)
  t.equal(new Set(codes).size, codes.length)
})

t.test('a refusal takes its status, code and title from the catalogue', async t => {
  const refusal = new Refusal('rate.exceeded', { headers: { 'retry-after': '3' } })
  t.match(refusal, {
    reason: 'rate.exceeded',
    status: 429,
    code: 'SP_RATE_EXCEEDED',
    title: 'Too many requests'
  })
  t.equal(refusal.headers?.['retry-after'], '3')
})

t.test('a flood of refusals pays for no stack traces', async t => {
  t.notMatch(new Refusal('token.missing').stack, /at /)
  t.match(new Error('an ordinary error').stack, /at /)
})
