import fc from 'fast-check'
import t from 'tap'
import { parseStrictObject } from '../../../src/json/strict-json.ts'

t.test('every JSON object without doubled names is read as JSON.parse reads it', async t => {
  const outcome = fc.check(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 5 })), value => {
      const text = JSON.stringify(value)
      if (JSON.stringify(parseStrictObject(text)) !== JSON.stringify(JSON.parse(text))) throw new Error(text)
    }),
    { numRuns: 200 }
  )
  t.equal(outcome.counterexample, null)
})

t.test('a member that is there twice is found wherever it is', async t => {
  const outcome = fc.check(
    fc.property(fc.string(), fc.jsonValue(), fc.jsonValue(), (name, one, other) => {
      const key = JSON.stringify(name)
      const doubled = `{${key}:${JSON.stringify(one)}, ${key} : ${JSON.stringify(other)}}`
      if (parseStrictObject(doubled) !== undefined) throw new Error(doubled)
      if (parseStrictObject(`{"outer":[1,${doubled}]}`) !== undefined) throw new Error(doubled)
    }),
    { numRuns: 200 }
  )
  t.equal(outcome.counterexample, null)
})

t.test('what is not a JSON object', async t => {
  for (const text of [
    '',
    'null',
    '1',
    '"a"',
    '[]',
    '{',
    '{"a":1',
    '{"a":1}x',
    '{"a"}',
    "{'a':1}",
    '{"a":"\\"}',
    '":"'
  ]) {
    t.equal(parseStrictObject(text), undefined, text)
  }
})

t.test('colons, quotes and braces inside strings are no structure', async t => {
  const value = { 'a:b': ':::', '"': '\\', '\\"': '{[:]}', '\\': '\\\\"' }
  t.strictSame(parseStrictObject(JSON.stringify(value)), value)
})

t.test('__proto__ is a name like any other', async t => {
  t.equal(Object.getPrototypeOf(parseStrictObject('{"__proto__":{"a":1}}')), Object.prototype)
  t.equal(parseStrictObject('{"__proto__":1,"__proto__":2}'), undefined)
})

t.test('nesting is bounded', async t => {
  const nested = (depth: number) => `{"a":${'['.repeat(depth)}${']'.repeat(depth)}}`
  t.ok(parseStrictObject(nested(31)))
  t.equal(parseStrictObject(nested(32)), undefined)
  t.equal(parseStrictObject(`{"a":${'['.repeat(16_000)}`), undefined)
})
