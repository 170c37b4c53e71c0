import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { Document, LineCounter, parseAllDocuments } from 'yaml'
import { Cursor, rootOf, type Source } from './cursor.ts'
import { type At, BadInput } from './objects.ts'
import { readLabels } from './read-labels.ts'
import { type Labels, type Selector, selectorOf } from './selector.ts'

/** What the proof reads of the gateway's configuration: which pods each upstream is. */
export interface UpstreamsView {
  upstreams?: Record<
    string,
    { url?: string; kubernetes?: { namespace: string; podSelector: Labels; port: number } }
  >
}

export interface Upstream {
  name: string
  namespace: string
  labels: Labels
  selector: Selector
  port: number
  /** Name and port of the Service that the URL points to, where it points to one of this namespace. */
  service: { name: string; port: number } | undefined
  at: At
}

export interface Upstreams {
  inside: Upstream[]
  /** Upstreams without a `kubernetes` block: outside the cluster, where no policy protects them. */
  outside: { name: string; at: At }[]
}

/** Reads the `upstreams` of a configuration file, or of all files of a folder. */
export function readUpstreams(path: string): Upstreams {
  const problems: string[] = []
  const all: Upstreams = { inside: [], outside: [] }
  for (const file of configFiles(path)) {
    const lines = new LineCounter()
    for (const document of documentsOf(file, lines)) {
      for (const error of document.errors) {
        const { line, col } = lines.linePos(error.pos[0])
        problems.push(`${file}:${line}:${col}  ${error.message.split('\n')[0]}`)
      }
      if (document.errors.length > 0) continue
      const source: Source = { file, document, lines, problems }
      readView(rootOf(source), all)
    }
  }
  if (problems.length > 0) throw new BadInput(problems)
  return all
}

function documentsOf(file: string, lines: LineCounter) {
  const documents = parseAllDocuments(readConfig(file), { lineCounter: lines })
  return Array.isArray(documents) ? documents : []
}

function readConfig(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    throw new BadInput([`${file}  cannot be read: ${cause instanceof Error ? cause.message : cause}`])
  }
}

function configFiles(path: string): string[] {
  if (!(statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false)) return [path]
  return readdirSync(path)
    .filter(name => /\.ya?ml$/.test(name) && !name.startsWith('.'))
    .sort()
    .map(name => join(path, name))
}

/** The same from a configuration that is parsed already; positions are then those of the names in it. */
export function upstreamsOf(view: UpstreamsView, file: string): Upstreams {
  const document = new Document(view)
  const source: Source = { file, document, lines: new LineCounter(), problems: [] }
  const all: Upstreams = { inside: [], outside: [] }
  readView(new Cursor(source, [], view), all)
  if (source.problems.length > 0) throw new BadInput(source.problems)
  return all
}

function readView(root: Cursor, all: Upstreams): void {
  for (const [name, at] of root.get('upstreams').entries()) {
    const kubernetes = at.get('kubernetes')
    if (!kubernetes.isPresent) {
      all.outside.push({ name, at: at.at })
      continue
    }
    const namespace = kubernetes.get('namespace').string()
    const port = kubernetes.get('port').integer()
    const labels = readLabels(kubernetes.get('podSelector'))
    if (namespace === undefined) kubernetes.fail('needs a namespace')
    if (port === undefined) kubernetes.fail("needs a port: the pods', not the Service's")
    if (Object.keys(labels).length === 0) kubernetes.fail('needs a podSelector with at least one label')
    if (namespace === undefined || port === undefined) continue
    const selector = selectorOf(labels)
    all.inside.push({
      name,
      namespace,
      labels,
      selector,
      port,
      service: serviceOf(at.get('url').string(), namespace),
      at: kubernetes.at
    })
  }
}

function serviceOf(url: string | undefined, namespace: string): Upstream['service'] {
  if (url === undefined || !URL.canParse(url)) return undefined
  const { hostname, port, protocol } = new URL(url)
  const [name, where, kind] = hostname.split('.')
  if (name === undefined || where !== namespace || (kind !== undefined && kind !== 'svc')) return undefined
  return { name, port: Number(port) || (protocol === 'https:' ? 443 : 80) }
}
