import t from 'tap'
import { formatTimeout, isTimed, parseTimeout } from '../../../../src/proxy/grpc/deadline.ts'

t.test('a grpc-timeout is digits and a unit', async t => {
  for (const [value, milliseconds] of [
    ['1H', 3_600_000],
    ['2M', 120_000],
    ['3S', 3000],
    ['4m', 4],
    ['5000u', 5],
    ['6000000n', 6],
    ['0S', 0],
    ['00000001S', 1000],
    ['99999999H', 99_999_999 * 3_600_000]
  ] as const) {
    t.equal(parseTimeout(value), milliseconds, value)
  }
  for (const value of [
    '',
    'S',
    '1',
    '1s',
    '1h',
    '+1S',
    '-1S',
    '1.5S',
    ' 1S',
    '1S ',
    '100000000S',
    '1e3S',
    '१S'
  ]) {
    t.equal(parseTimeout(value), null, value)
  }
})

t.test('what is left is written in the finest unit that holds it, and never as more', async t => {
  for (const [milliseconds, value] of [
    [0.0001, '1u'],
    [0.5, '500u'],
    [1.2345678, '1234u'],
    [99_999, '99999000u'],
    [100_000.9, '100000m'],
    [1e8, '100000S'],
    [1e11, '1666666M'],
    [1e13, '2777777H'],
    [1e20, '99999999H']
  ] as const) {
    t.equal(formatTimeout(milliseconds), value)
  }
  t.ok(isTimed(2 ** 31 - 1))
  t.notOk(isTimed(2 ** 31), 'a timer of Node would fire at once')
})
