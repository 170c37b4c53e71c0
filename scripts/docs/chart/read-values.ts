import { readFile } from 'node:fs/promises'
import { isMap, isScalar, LineCounter, type Pair, parse, parseDocument, type YAMLMap } from 'yaml'

/** A key of values.yaml with what its comment says. */
export interface ValueNode {
  /** Dotted path, e.g. `image.tag`. */
  path: string
  key: string
  value: unknown
  /** Text of the `# --` comment; empty where there is none. */
  description: string
  /** What `@schema` adds to the JSON Schema of the key. */
  schema: Record<string, unknown>
  /** Keys below it, where those have comments of their own; undefined: the key is described as a whole. */
  children: ValueNode[] | undefined
}

export const chartFolder = new URL('../../../helm/sallyport/', import.meta.url)

/** values.yaml is the source: its comments become the schema, the README and the reference. */
export async function readValues(): Promise<ValueNode[]> {
  const text = await readFile(new URL('values.yaml', chartFolder), 'utf8')
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines })
  if (!isMap(document.contents)) throw new Error('values.yaml must be a map')
  return readMap(document.contents, { text: text.split('\n'), lines }, '')
}

interface Place {
  text: readonly string[]
  lines: LineCounter
}

function readMap(map: YAMLMap, place: Place, prefix: string): ValueNode[] {
  return map.items.map(pair => readPair(pair as Pair, place, prefix))
}

function readPair(pair: Pair, place: Place, prefix: string): ValueNode {
  if (!isScalar(pair.key) || pair.key.range == null) throw new Error(`${prefix}: a key must be a word`)
  const key = String(pair.key.value)
  const path = `${prefix}${key}`
  const comment = commentAbove(place.text, place.lines.linePos(pair.key.range[0]).line - 1)
  const inside = isMap(pair.value) && pair.value.flow !== true ? readMap(pair.value, place, `${path}.`) : []
  const isDescribed = inside.some(child => child.description !== '' || child.children !== undefined)
  return {
    path,
    key,
    value: toValue(pair),
    ...comment,
    children: isDescribed ? inside : undefined
  }
}

function toValue(pair: Pair): unknown {
  const node = pair.value as { toJSON?: () => unknown } | null
  return node?.toJSON?.() ?? null
}

/** The comment directly above line `index`: from `# --` on. */
function commentAbove(text: readonly string[], index: number): Pick<ValueNode, 'description' | 'schema'> {
  const block: string[] = []
  for (let at = index - 1; at >= 0; at--) {
    const line = text[at]?.trim() ?? ''
    if (!line.startsWith('#')) break
    block.unshift(line.replace(/^#\s?/, ''))
  }
  const first = block.findIndex(line => line.startsWith('-- '))
  if (first === -1) return { description: '', schema: {} }
  const own = block.slice(first)
  const schema = own
    .filter(line => line.startsWith('@schema '))
    .map(line => parse(line.slice('@schema '.length)))
  const words = own.filter(line => !line.startsWith('@schema '))
  return { description: words.join(' ').slice('-- '.length), schema: Object.assign({}, ...schema) }
}
