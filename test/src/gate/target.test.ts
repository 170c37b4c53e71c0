import fc from 'fast-check'
import t from 'tap'
import {
  encodedSlashTraits,
  judgeTarget,
  longTarget,
  malformedTarget,
  traits
} from '../../../src/gate/target.ts'

const judge = (target: string): number => judgeTarget(target, 8192)

t.test('separators in escapes are left to the route, each by its own flag', async t => {
  t.equal(judge('/a%2fb'), traits.encodedSlash)
  t.equal(judge('/a%5Cb'), traits.encodedBackslash)
  t.equal(judge('/a%25'), traits.encodedPercent)
  t.equal(judge('/a%2Fb%5cc%25'), encodedSlashTraits)
  t.equal(judge('/a%2f'), traits.encodedSlash)
})

t.test('no route can opt in to a way around the path', async t => {
  for (const target of [
    '/a%2f..%2fb',
    '/a%2f../b',
    '/..%2fb',
    '/%2e%2e%2fb',
    '/a%5c..',
    '/a%2f%2fb',
    '/%2fb',
    '/a/%2fb',
    '/a%2f/b',
    '/a%252e',
    '/a%252f'
  ]) {
    t.equal(judge(target), malformedTarget, target)
  }
})

t.test('the length of the path counts, not that of the query', async t => {
  t.equal(judgeTarget('/abc', 4), 0)
  t.equal(judgeTarget('/abcd', 4), longTarget)
  t.equal(judgeTarget('/abc?defgh', 4), 0)
  t.equal(judgeTarget('/%41aaaaaa', 4), malformedTarget)
})

t.test('what passes is read alike by a WHATWG URL parser and by one that decodes first', async () => {
  const piece = fc.constantFrom(
    'a',
    '.',
    '..',
    '/',
    '%2e',
    '%2f',
    '%5c',
    '%25',
    '%',
    '2',
    'e',
    '\\',
    ';',
    '?',
    '#',
    '%c3%a9',
    '%C0%AE',
    '\t',
    '\x80'
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 10 }), pieces => {
      const target = `/${pieces.join('')}`
      const found = judge(target)
      if (found < 0) return
      const url = new URL(`http://host${target}`)
      if (url.pathname + url.search !== target && url.pathname + url.search !== target.replace(/\?$/, ''))
        throw new Error(target)
      const path = target.split('?')[0]!
      const decoded = decodeURIComponent(path)
      if (/(^|[/\\])\.\.?([/\\]|$)/.test(decoded) || decoded.includes('//')) throw new Error(target)
      if (found === 0 && decoded.split('/').length !== path.split('/').length) throw new Error(target)
    }),
    { numRuns: 5000 }
  )
})
