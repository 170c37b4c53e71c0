import { existsSync } from 'node:fs'
import type { GeneratedFile } from './generate.ts'
import { code, page, table } from './markdown.ts'

interface Metric {
  name: string
  type: string
  labels: readonly string[]
  help: string
}

const prefix = 'sallyport_'

const introduction = [
  'What `/metrics` of the admin listener exposes. Units are base units (seconds, bytes). Label `route` is the name in the YAML,',
  '`none` when no route matched; no label ever holds a user, an address, a path or a request id.'
].join('\n')

export const metricsPage: GeneratedFile = {
  path: 'docs/reference/metrics.md',
  async render() {
    const registry = new URL('../../src/registry.ts', import.meta.url)
    if (!existsSync(registry)) return null
    const { metricCatalogue } = (await import(registry.href)) as { metricCatalogue?: readonly Metric[] }
    if (!metricCatalogue) return null
    const rows = metricCatalogue.map(({ name, type, labels, help }) => [
      code(name.startsWith(prefix) ? name : `${prefix}${name}`),
      type,
      labels.map(code).join(', '),
      help
    ])
    const headings = ['Metric', 'Type', 'Labels', 'Meaning']
    return `${[...page('Metrics', introduction, 'src/registry.ts'), ...table(headings, rows)].join('\n').trimEnd()}\n`
  }
}
