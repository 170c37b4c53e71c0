import t from 'tap'
import { continueTrace, formatTraceparent } from '../../src/trace.ts'

const trace = '4bf92f3577b34da6a3ce929d0e0e4736'
const parent = '00f067aa0ba902b7'

t.test('a traceparent is read as W3C Trace Context has it', async t => {
  const rows: [string, string][] = [
    [`00-${trace}-${parent}-01`, '01'],
    [`00-${trace}-${parent}-03`, '03'],
    [`00-${trace}-${parent}-f9`, '01'],
    [`cc-${trace}-${parent}-00-more.of-it`, '00']
  ]
  for (const [value, flags] of rows) {
    const continued = continueTrace(value)
    t.match(continued, { traceId: trace, parentId: parent, flags })
    t.match(continued.spanId, /^[0-9a-f]{16}$/)
    t.not(continued.spanId, parent)
    t.equal(formatTraceparent(continued), `00-${trace}-${continued.spanId}-${flags}`)
  }
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
    const begun = continueTrace(value)
    t.match(begun, { parentId: null, flags: '00' }, String(value))
    t.match(begun.traceId, /^(?!4bf92f)[0-9a-f]{32}$/)
  }
})
