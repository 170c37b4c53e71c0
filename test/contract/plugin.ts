import { readFile } from 'node:fs/promises'
import { Ajv2020 } from 'ajv/dist/2020.js'
import type { Test } from 'tap'
import type { RequestGateway } from '../../src/plugin/define.ts'
import { phases } from '../../src/plugin/define.ts'
import { identity, type RouteSettings, testRoute, testRoutes, type Use } from '../fixtures/route.ts'

export interface PluginCase {
  plugin: Use[0]
  /** The file that holds it. */
  file: URL
  /** Options as in the YAML, which the schema must accept; each is tried. */
  written: unknown[]
  /** The configuration around the options. */
  config?: object
  /** What a request carries to get in. */
  headers?: Record<string, string>
  /** What the gateway lends to it. */
  gateway?: RouteSettings['gateway']
  /** What is known of its requests. */
  wrapRequest?: RouteSettings['wrapRequest']
  /** The same options as the plugin gets them (durations in ms, sizes in bytes), for one route that lets a plain GET pass. */
  options: unknown
}

/** What every plugin must do, whichever it is. */
export function pluginContract(t: Test, oneCase: PluginCase): void {
  const { plugin, file, written, options, headers = {} } = oneCase
  const known: RouteSettings = { ...nothingSpecial, gateway: oneCase.gateway ?? {} }
  if (oneCase.wrapRequest !== undefined) known.wrapRequest = oneCase.wrapRequest
  t.test(`${plugin.name} has a name, a phase and options that explain themselves`, async t => {
    t.match(plugin.name, /^[a-z][a-z0-9-]*$/)
    t.equal(file.pathname.split('/').at(-1), `${plugin.name}.ts`, 'the file is named like the plugin')
    t.ok(phases.includes(plugin.phase))
    if (plugin.phaseFor) t.ok(phases.includes(plugin.phaseFor(options as never)))
    t.same(undescribed(plugin.schema, []), [], 'every property has a description')
  })

  t.test(`${plugin.name} has a schema that is strict`, async t => {
    const ajv = new Ajv2020({ strict: true, allErrors: true, allowUnionTypes: true })
    ajv.addFormat('duration', /^\d+(ms|s|m|h|d)$/)
    ajv.addFormat('size', /^\d+(Ki|Mi|Gi)?$/)
    ajv.addFormat('cidr', /^[0-9a-f.:]+\/\d+$/)
    ajv.addFormat('uri', true)
    ajv.addKeyword({ keyword: 'x-secret', schemaType: 'boolean' })
    ajv.addKeyword({ keyword: 'x-remedy', schemaType: 'string' })
    const validate = ajv.compile(plugin.schema)
    for (const sample of written) {
      t.ok(validate(sample), `accepts ${JSON.stringify(sample)}: ${ajv.errorsText(validate.errors)}`)
      const list = Array.isArray(sample)
        ? [{ ...sample[0], unheardOf: 1 }]
        : { ...(sample as object), unheardOf: 1 }
      t.equal(validate(list), false, 'refuses a key that it does not know')
    }
    if (plugin.check)
      t.same(
        plugin.check(options as never, (oneCase.config ?? {}) as never),
        [],
        'has nothing against its own options'
      )
  })

  t.test(`${plugin.name} loads from a folder without node_modules of ours`, async t => {
    const source = await readFile(file, 'utf8')
    const imports = source.match(/^(import|export)\b[^'"]*from\s*['"]\.[^'"]*['"]/gm) ?? []
    // A folder of its name is part of it.
    const own = new RegExp(`from\\s*['"]\\./${plugin.name}/[a-z-]+\\.ts['"]$`)
    const atRuntime = imports.filter(line => !line.startsWith('import type') && !own.test(line))
    t.same(atRuntime, [], 'imports nothing of ours but types')
    t.equal(/\bimport\(['"]\./.test(source), false)
  })

  t.test(`${plugin.name} works on a bare Fastify route`, async t => {
    const route = await testRoute(t, [[plugin, options]], known)
    const answer = await fetch(`${route.url}/orders`, { headers })
    t.equal(answer.status, 200)
    t.equal(route.proxied.length, 1)
  })

  t.test(`${plugin.name} works on two routes, each for itself`, async t => {
    const use: Use = [plugin, options]
    const routes = await testRoutes(t, [
      { uses: [use], settings: { ...known, name: 'route-a' } },
      { uses: [use], settings: { ...known, name: 'route-b' } },
      { uses: [], settings: { ...known, name: 'route-c' } }
    ])
    const answers = []
    for (const route of routes) answers.push(await fetch(`${route.url}/orders`, { headers }))
    t.same(
      answers.map(answer => answer.status),
      [200, 200, 200]
    )
    const told = answers.map(answer => headersOf(answer))
    t.same(told[0], told[1], 'the first request of a route leaves no trace on the other')
    t.same(
      Object.keys(told[2]!),
      ['connection', 'content-length', 'content-type', 'date', 'keep-alive'],
      'a route without it has nothing of it'
    )
  })

  t.test(`${plugin.name} lets nothing through when it breaks`, async t => {
    let touched = false
    function broken(): never {
      touched = true
      throw new Error('broken on purpose')
    }
    const limits = { name: 'broken', take: broken, peek: broken, async close() {} }
    const route = await testRoute(t, [[plugin, options]], {
      ...known,
      limits,
      gateway: {
        principal: () => broken,
        cache: () => ({ get: () => undefined, set() {}, delete() {} }),
        ...oneCase.gateway
      },
      wrapRequest: gateway => breakable(gateway, broken)
    })
    const answer = await fetch(`${route.url}/orders`, {
      method: 'POST',
      body: '{}',
      headers: { 'content-type': 'application/json', origin: 'https://shop.example.com', ...headers }
    })
    if (touched) {
      t.ok(answer.status >= 400, `answers ${answer.status}`)
      t.equal(route.proxied.length, 0)
      t.match(await answer.text(), /^(?!.*broken on purpose)/, 'says nothing of the inside')
    } else {
      t.ok(true, 'nothing of it can break')
    }
  })
}

const nothingSpecial = {
  identity: identity({ scopes: ['orders:read'], groups: ['ops'], roles: ['reader'] }),
  methods: [] as string[]
}

/** Every read and write of what is known of the request throws. */
function breakable(gateway: RequestGateway, broken: () => never): RequestGateway {
  return new Proxy(gateway, { get: broken, set: broken, has: broken })
}

function headersOf(answer: Response): Record<string, string> {
  const headers = Object.fromEntries(answer.headers)
  if (headers.date) headers.date = 'a date'
  return headers
}

function undescribed(schema: unknown, path: string[]): string[] {
  if (Array.isArray(schema))
    return schema.flatMap((part, index) => undescribed(part, [...path, String(index)]))
  if (typeof schema !== 'object' || schema === null) return []
  return Object.entries(schema).flatMap(([key, part]) => {
    if (key !== 'properties') return undescribed(part, [...path, key])
    return Object.entries(part as Record<string, { description?: string }>).flatMap(([name, property]) => [
      ...(property.description ? [] : [[...path, name].join('.')]),
      ...undescribed(property, [...path, name])
    ])
  })
}
