import t from 'tap'
import { isRequestId, parseTraceparent } from '../../../src/gate/correlation.ts'

t.test('a request id is short and plain', async t => {
  for (const id of ['a', '7d9a5c1e-0d57-4b0c-9b0e-6a2e5b6f9c11', 'Root_1.2:3', 'x'.repeat(128)])
    t.ok(isRequestId(id), id)
  for (const id of [
    '',
    'x'.repeat(129),
    'a b',
    'a\n',
    'a\r\nset-cookie: b',
    'caf\xe9',
    'a, b',
    '"a"',
    '<a>',
    undefined,
    ['a']
  ]) {
    t.notOk(isRequestId(id), JSON.stringify(id))
  }
})

const trace = '4bf92f3577b34da6a3ce929d0e0e4736'
const parent = '00f067aa0ba902b7'

t.test('a traceparent is read as W3C Trace Context has it', async t => {
  t.same(parseTraceparent(`00-${trace}-${parent}-01`), { traceId: trace, parentId: parent, flags: 1 })
  t.same(parseTraceparent(`cc-${trace}-${parent}-00-more.of-it`), {
    traceId: trace,
    parentId: parent,
    flags: 0
  })
})

t.test('anything else starts a new trace', async t => {
  for (const value of [
    '',
    'a'.repeat(55),
    `00-${trace}-${parent}`,
    `00-${trace}-${parent}-01-more`,
    `00-${trace}-${parent}-0g`,
    `ff-${trace}-${parent}-01`,
    `0x-${trace}-${parent}-01`,
    `00-${trace.toUpperCase()}-${parent}-01`,
    `00-${'0'.repeat(32)}-${parent}-01`,
    `00-${trace}-${'0'.repeat(16)}-01`,
    `00_${trace}_${parent}_01`,
    `cc-${trace}-${parent}-01more`,
    `cc-${trace}-${parent}-01-a\r\nb`,
    `cc-${trace}-${parent}-01-${'a'.repeat(128)}`,
    `00-${trace}-${parent}-01, 00-${trace}-${parent}-01`,
    undefined
  ]) {
    t.equal(parseTraceparent(value), null, String(value))
  }
})
