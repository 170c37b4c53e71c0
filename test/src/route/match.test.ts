import type { IncomingMessage } from 'node:http'
import fc from 'fast-check'
import t from 'tap'
import { hostname, type Matchable, RouteTable } from '../../../src/route/match.ts'

interface Question {
  method: string
  host: string | undefined
  path: string
  headers: Record<string, string>
}

function route(name: string, path: string, more: Partial<Matchable> = {}): Matchable {
  return {
    name,
    hosts: [],
    path,
    methods: [],
    headers: {},
    answersPreflight: false,
    protocol: 'http',
    sparesInfrastructure: false,
    ...more
  }
}

function ask(table: RouteTable<Matchable>, question: Partial<Question>) {
  const { method = 'GET', host = 'a', path = '/', headers = {} } = question
  return table.find({ method, headers: { ...headers, host } } as unknown as IncomingMessage, path)
}

function nameOf(routes: readonly Matchable[], question: Partial<Question>): string | null {
  return ask(new RouteTable(routes), question)?.route.name ?? null
}

// --- the oracle: no tree, no index, only the rules, one after the other ---

/** What a segment means, whatever its spelling. */
function meaning(segment: string): string {
  return segment
    .replace(/%25|%2f|%5c/gi, found => `\0${found.toUpperCase()}`)
    .replaceAll(/%(?!25|2f|5c)../gi, '$&')
}

function decoded(segment: string): string {
  // Kept apart: an encoded slash is no slash.
  return decodeURIComponent(meaning(segment).replaceAll('\0%', '\0%25'))
}

/** How a path fits a pattern: one rank per segment, lower is more specific; null: not at all. */
function fit(pattern: string, path: string): number[] | null {
  const rest = pattern.endsWith('/*')
  const wanted = (rest ? pattern.slice(0, -2) : pattern).split('/').slice(1)
  const given = path.split('/').slice(1)
  if (rest ? given.length < wanted.length : given.length !== wanted.length) return null
  const ranks: number[] = []
  for (const [i, segment] of wanted.entries()) {
    const value = given[i] as string
    if (segment.startsWith(':')) {
      if (value === '') return null
      ranks.push(1)
    } else if (decoded(segment) === decoded(value)) ranks.push(0)
    else return null
  }
  // `/a/*` takes `/a` as well, after whoever asks for `/a` itself.
  if (rest) ranks.push(given.length > wanted.length ? 2 : 3)
  return ranks
}

function hostRank(hosts: readonly string[], host: string): number | null {
  if (hosts.includes(host)) return 0
  const suffixes = hosts.filter(
    one => one.startsWith('*.') && host.endsWith(one.slice(1)) && host !== one.slice(1)
  )
  if (suffixes.length > 0) return 1000 - Math.max(...suffixes.map(one => one.length))
  return hosts.length === 0 ? 2000 : null
}

function oracle(routes: readonly Matchable[], question: Question): string | null {
  const host = hostname(question.host)
  const found: { name: string; rank: number[] }[] = []
  for (const one of routes) {
    const byHost = hostRank(one.hosts, host)
    const byPath = fit(one.path, question.path)
    if (byHost === null || byPath === null) continue
    const { method } = question
    const takes = (name: string) => one.methods.includes(name)
    if (one.methods.length > 0 && !takes(method) && !(method === 'HEAD' && takes('GET'))) continue
    const wanted = Object.entries(one.headers)
    if (wanted.some(([name, value]) => question.headers[name] !== value)) continue
    // Paths are compared segment by segment, so the shorter rank is padded with the worst.
    const path = [...byPath, ...Array(8).fill(-1)].slice(0, 8)
    found.push({ name: one.name, rank: [byHost, ...path, -wanted.length, one.methods.length > 0 ? 0 : 1] })
  }
  found.sort((a, b) => {
    for (const [i, rank] of a.rank.entries()) if (rank !== b.rank[i]) return rank - (b.rank[i] as number)
    return a.name < b.name ? -1 : 1
  })
  return found[0]?.name ?? null
}

const segment = fc.constantFrom('a', 'b', 'ab', 'a!b', 'a%21b', 'caf%C3%A9', 'caf%c3%a9', '%20', 'a$', 'a%24')
const patternSegment = fc.oneof({ weight: 3, arbitrary: segment }, { weight: 1, arbitrary: fc.constant(':') })
const pattern = fc
  .tuple(fc.array(patternSegment, { maxLength: 3 }), fc.boolean(), fc.boolean())
  .map(([parts, rest, slash]) => {
    const named = parts.map((part, i) => (part === ':' ? `:p${i}` : part))
    if (rest) return `/${[...named, '*'].join('/')}`
    return `/${named.join('/')}${slash && named.length > 0 ? '/' : ''}`
  })
const path = fc
  .tuple(
    fc.array(fc.oneof(segment, fc.constantFrom('a%2Fb', ':p0', '*', 'c')), { maxLength: 4 }),
    fc.boolean()
  )
  .map(([parts, slash]) => `/${parts.join('/')}${slash && parts.length > 0 ? '/' : ''}`)
const methods = fc.subarray(['GET', 'POST', 'HEAD', 'DELETE'])
const headers = fc.dictionary(fc.constantFrom('x-a', 'x-b'), fc.constantFrom('1', '2'), {
  maxKeys: 2,
  noNullPrototype: true
})
const hosts = fc.subarray(['a.example.com', 'example.com', '*.example.com', '*.b.example.com', '*.com'])
const host = fc.constantFrom(
  'a.example.com',
  'A.Example.COM:8080',
  'example.com',
  'b.example.com',
  'x.b.example.com',
  'y.x.b.example.com',
  'com',
  'other'
)
const routes = fc
  .array(fc.record({ path: pattern, methods, headers, hosts }), { minLength: 1, maxLength: 12 })
  .map(list => list.map((one, i) => route(`r${String(i).padStart(2, '0')}`, one.path, one)))
const question = fc.record({
  path,
  method: fc.constantFrom('GET', 'HEAD', 'POST', 'DELETE', 'PUT'),
  headers,
  host
})

t.test('a request goes to the route that the rules say, whatever the order in the file', async t => {
  fc.assert(
    fc.property(routes, fc.array(question, { minLength: 10, maxLength: 10 }), (list, questions) => {
      const tables = [new RouteTable(list), new RouteTable(list.toReversed())]
      for (const one of questions) {
        const expected = oracle(list, one)
        for (const table of tables) {
          const found = ask(table, one)?.route.name ?? null
          if (found !== expected) throw new Error(`${JSON.stringify(one)}: ${found}, not ${expected}`)
        }
      }
    }),
    { numRuns: 1000 }
  )
  t.pass()
})

t.test('one path in two spellings is one path', async t => {
  const list = [route('admin', '/a$min/*'), route('rest', '/*')]
  for (const spelling of ['/a$min', '/a%24min', '/a$min/x', '/a%24min/%2A']) {
    t.equal(nameOf(list, { path: spelling }), 'admin', spelling)
  }
  t.equal(nameOf([route('a', '/caf%C3%A9')], { path: '/caf%c3%a9' }), 'a')
  t.equal(nameOf([route('a', '/x%3Fy')], { path: '/x%3fy' }), 'a')
  t.equal(nameOf([route('a', '/x%3Ay')], { path: '/x:y' }), 'a')
  t.equal(nameOf([route('a', '/x%2Ay')], { path: '/x*y' }), 'a')
  t.equal(nameOf([route('a', '/x%2Ay')], { path: '/xzy' }), null)
})

t.test('an encoded slash separates nothing', async t => {
  const list = [route('admin', '/files/admin'), route('file', '/files/:name'), route('rest', '/*')]
  const found = ask(new RouteTable(list), { path: '/files%2Fadmin' })
  t.equal(found?.route.name, 'rest')
  const file = ask(new RouteTable(list), { path: '/files/a%2Fadmin%25' })
  t.equal(file?.route.name, 'file')
  t.same({ ...file?.params }, { name: 'a/admin%' })
})

t.test('the query takes no part', async t => {
  const list = [route('a', '/a'), route('b', '/a/b')]
  t.equal(nameOf(list, { path: '/a?/b' }), 'a')
  t.equal(nameOf(list, { path: '/a/b?x=/c#' }), 'b')
})

t.test('parameters are decoded and keep their names', async t => {
  const found = ask(new RouteTable([route('a', '/u/:id/:__proto__/*')]), { path: '/u/a%20%C3%A9/^/x' })
  t.same(Object.entries(found?.params ?? {}), [
    ['id', 'a é'],
    ['__proto__', '^']
  ])
})

t.test('a route for /a itself is more specific than one for /a/*', async t => {
  const list = [route('prefix', '/a/*', { methods: ['GET'] }), route('same', '/a')]
  t.equal(nameOf(list, { path: '/a' }), 'same')
  t.equal(nameOf(list, { path: '/a/' }), 'prefix')
})

t.test('a preflight belongs to the route that will get the request', async t => {
  const list = [
    route('read', '/a', { methods: ['GET'], headers: { 'x-v': '2' }, answersPreflight: true }),
    route('write', '/a', { methods: ['PUT'], answersPreflight: true }),
    route('rest', '/*')
  ]
  const preflight = (method: string) => ({
    method: 'OPTIONS',
    path: '/a',
    headers: { origin: 'https://x', 'access-control-request-method': method }
  })
  t.equal(nameOf(list, preflight('GET')), 'read')
  t.equal(nameOf(list, preflight('HEAD')), 'read')
  t.equal(nameOf(list, preflight('PUT')), 'write')
  t.equal(nameOf(list, preflight('DELETE')), 'rest')
  t.equal(nameOf(list, { method: 'OPTIONS', path: '/a' }), 'rest', 'OPTIONS alone is no preflight')
})

t.test('a hundred routes on one path are told apart', async t => {
  const list = Array.from({ length: 100 }, (_, i) => route(`r${i}`, '/a', { headers: { 'x-v': String(i) } }))
  const table = new RouteTable(list)
  for (let i = 0; i < 100; i++)
    t.equal(ask(table, { path: '/a', headers: { 'x-v': String(i) } })?.route.name, `r${i}`)
  t.equal(ask(table, { path: '/a' }), null)
})

t.test('two hundred hosts share the path /*', async t => {
  const list = Array.from({ length: 200 }, (_, i) => route(`r${i}`, '/*', { hosts: [`h${i}.example.com`] }))
  const table = new RouteTable(list)
  for (let i = 0; i < 200; i++)
    t.equal(ask(table, { host: `h${i}.example.com`, path: '/x' })?.route.name, `r${i}`)
  t.equal(ask(table, { host: 'example.com' }), null)
})

t.test('the longest path that the gate lets in is matched, fully escaped', async t => {
  const list = [route('a', '/:all')]
  t.equal(ask(new RouteTable(list), { path: `/${'!'.repeat(8191)}` })?.params.all?.length, 8191)
})

t.test('host names are read without port and case', async t => {
  t.equal(hostname('A.Example.COM:80'), 'a.example.com')
  t.equal(hostname('[::1]:80'), '[::1]')
  t.equal(hostname(undefined), '')
})
