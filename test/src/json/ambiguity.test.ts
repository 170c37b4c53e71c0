import fc from 'fast-check'
import t from 'tap'
import { ambiguityOf } from '../../../src/json/ambiguity.ts'
import { isExactNumber } from '../../../src/json/exact-number.ts'

function judge(text: string): string | null {
  return ambiguityOf(text, JSON.parse(text))
}

t.test('what JavaScript writes as JSON is read in one way', async t => {
  const plain = fc.jsonValue({
    maxDepth: 4,
    stringUnit: fc.constantFrom('a', 'b', 'ä', '€', '😀', '"', '\\', '7')
  })
  const outcome = fc.check(
    fc.property(plain, value => {
      const text = JSON.stringify(value)
      if (judge(text)?.startsWith('a number')) throw new Error(text)
    }),
    { numRuns: 500 }
  )
  t.equal(outcome.counterexample, null)
})

t.test('every double is exact in the digits that JavaScript writes for it', async t => {
  const outcome = fc.check(
    fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), value => {
      if (!isExactNumber(String(value)) || !isExactNumber(value.toExponential()))
        throw new Error(String(value))
    }),
    { numRuns: 2000 }
  )
  t.equal(outcome.counterexample, null)
})

t.test('up to fifteen digits every decimal is exact, however it is written', async t => {
  const outcome = fc.check(
    fc.property(fc.nat({ max: 999_999_999_999_999 }), fc.integer({ min: -20, max: 20 }), (digits, power) => {
      if (!isExactNumber(`${digits}e${power}`) || !isExactNumber(`-${digits}.000E+${Math.abs(power)}`))
        throw new Error(`${digits}e${power}`)
    }),
    { numRuns: 1000 }
  )
  t.equal(outcome.counterexample, null)
})

t.test('numbers that another reader reads otherwise', async t => {
  for (const number of [
    '9007199254740993',
    '-9007199254740993',
    '1000.00000000000000001',
    '999.99999999999999999',
    '0.1000000000000000055511151231257827',
    '1e400',
    '-1e400',
    '1e-400',
    '123456789012345678901234567890',
    '18446744073709551615'
  ]) {
    t.match(judge(`{"a":[1,${number}]}`), 'a number that a double does not hold', number)
    t.match(judge(number), 'a number that a double does not hold', number)
  }
  for (const number of [
    '0',
    '-0',
    '0.0e5',
    '0e99999',
    '0.1',
    '0.30000000000000004',
    '9007199254740991',
    '9007199254740992',
    '1.50',
    '1E2',
    '1e+2',
    '100000000000000000000000',
    '1.7976931348623157e308',
    '5e-324',
    `1${'0'.repeat(300)}`,
    `0.${'0'.repeat(300)}1`
  ])
    t.equal(judge(`{"a":[1,${number}]}`), null, number)
})

t.test('digits inside a string are no number', async t => {
  t.equal(judge('{"9007199254740993":"9007199254740993 1e400","a\\"1e400":"\\\\"}'), null)
})

t.test('names and texts that another reader takes for others', async t => {
  for (const [text, found] of [
    ['{"__proto__":{}}', /__proto__/],
    ['{"a":[{"\\u005f_proto__":1}]}', /__proto__/],
    ['{"amount":1,"Amount":2}', /case/],
    ['{"a":{"k":1,"\\u212a":2}}', /case/],
    ['{"s":1,"\\u017f":2}', /case/],
    ['{"a\\u0000":1}', /NUL/],
    ['["root\\u0000"]', /NUL/],
    ['"\\ud800"', /surrogate/],
    ['{"\\udc00a":1}', /surrogate/],
    ['["\\ud800\\ud800"]', /surrogate/]
  ] as const)
    t.match(judge(text), found, text)
  for (const text of ['{"a":1,"b":{"A":1}}', '["\\ud83d\\ude00"]', '{"constructor":1}', '[{"a":1},{"A":1}]'])
    t.equal(judge(text), null, text)
})
