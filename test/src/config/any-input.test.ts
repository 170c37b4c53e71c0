import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import t from 'tap'
import { parse, stringify } from 'yaml'
import { formatProblem } from '../../../src/config/config-problem.ts'
import { parseSource } from '../../../src/config/read.ts'
import { redactConfig } from '../../../src/config/redact.ts'
import { validate } from '../../../src/config/validate.ts'
import { fakePlugins } from './fake-plugins.ts'

const text = readFileSync(new URL('../../fixtures/interface.yaml', import.meta.url), 'utf8')
const paths = listPaths(parse(text), [])
const plugins = fakePlugins()

t.test('whatever stands in whichever place, every line says where and what is wrong', async () => {
  const place = fc.constantFrom(...paths)
  const content = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.constantFrom('jwt', '/*', '0s', '__proto__', 'none', {}, [])
  )
  fc.assert(
    fc.property(fc.array(fc.tuple(place, content), { minLength: 1, maxLength: 4 }), changes => {
      const value = parse(text)
      for (const [path, replacement] of changes) replaceAt(value, path, replacement)
      const { sources, problems } = parseSource('gateway.yaml', stringify(value))
      const result = validate(sources, plugins)
      if (result.config) redactConfig(result.config)
      const found = [...problems, ...(result.errors ?? [])]
      for (const { file, line, col, path, message, remedy } of found) {
        if (file !== 'gateway.yaml' || line < 1 || col < 1) throw new Error(`no place: ${path} ${message}`)
        if (!path || !message || !remedy) throw new Error(`incomplete: ${path} ${message} ${remedy}`)
      }
      return found.map(formatProblem).every(line => !/\p{Cc}/u.test(line))
    }),
    { numRuns: 150 }
  )
})

t.test('a map with a key `toString` in the place of a word is refused like any other', async t => {
  const value = parse(text)
  replaceAt(value, ['upstreams', 'orders', 'protocol'], { toString: false })
  const { sources } = parseSource('gateway.yaml', stringify(value))
  t.match(validate(sources, plugins).errors, [
    { path: 'upstreams.orders.protocol', message: 'a map is not a known value' }
  ])
})

function listPaths(value: unknown, path: string[]): string[][] {
  if (typeof value !== 'object' || value === null) return [path]
  const below = Object.entries(value).flatMap(([key, child]) => listPaths(child, [...path, key]))
  return path.length > 0 ? [path, ...below] : below
}

function replaceAt(root: unknown, path: string[], replacement: unknown): void {
  let parent = root
  for (const key of path.slice(0, -1)) parent = (parent as Record<string, unknown> | null | undefined)?.[key]
  if (typeof parent === 'object' && parent !== null)
    (parent as Record<string, unknown>)[path.at(-1) ?? ''] = replacement
}
