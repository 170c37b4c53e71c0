import { type Document, isNode, type LineCounter } from 'yaml'

/** One document of one file. */
export interface Source {
  file: string
  document: Document
  lines: LineCounter
  problems: string[]
}

/** The value of the whole document; one that cannot be built (an alias to nothing, a bomb of aliases) is a problem of it. */
export function rootOf(source: Source): Cursor {
  try {
    return new Cursor(source, [], source.document.toJS())
  } catch (cause) {
    const root = new Cursor(source, [], undefined)
    root.fail(cause instanceof Error ? cause.message : String(cause))
    return root
  }
}

type Path = readonly (string | number)[]

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A value inside a document that remembers where it is written and collects what is wrong with it. */
export class Cursor {
  readonly source: Source
  readonly path: Path
  readonly value: unknown

  constructor(source: Source, path: Path, value: unknown) {
    this.source = source
    this.path = path
    this.value = value
  }

  /** `file:line:col` of the value or, where it is absent, of what should hold it. */
  get at(): string {
    const { document, lines, file } = this.source
    for (let length = this.path.length; length >= 0; length--) {
      const node = length === 0 ? document.contents : document.getIn(this.path.slice(0, length), true)
      const offset = isNode(node) ? node.range?.[0] : undefined
      if (offset === undefined) continue
      const { line, col } = lines.linePos(offset)
      return `${file}:${line}:${col}`
    }
    return `${file}:1:1`
  }

  fail(message: string): void {
    const path = this.path.map(part => (typeof part === 'number' ? `[${part}]` : `.${part}`)).join('')
    const parts = [this.at, path.replace(/^\./, ''), message]
    this.source.problems.push(parts.filter(part => part !== '').join('  '))
  }

  get isPresent(): boolean {
    return this.value !== undefined && this.value !== null
  }

  get(key: string): Cursor {
    const inside = isRecord(this.value) && Object.hasOwn(this.value, key) ? this.value[key] : undefined
    return new Cursor(this.source, [...this.path, key], inside)
  }

  /** The fields of an object; reports anything else, and every field that is not known. Null is an empty object. */
  fields(known: readonly string[]): void {
    if (!this.isPresent) return
    if (!isRecord(this.value)) {
      this.fail('must be an object')
      return
    }
    for (const key of Object.keys(this.value)) {
      if (!known.includes(key)) this.get(key).fail(`unknown field; known are ${known.join(', ')}`)
    }
  }

  items(): Cursor[] {
    if (!this.isPresent) return []
    if (Array.isArray(this.value)) {
      return this.value.map((item, index) => new Cursor(this.source, [...this.path, index], item))
    }
    this.fail('must be a list')
    return []
  }

  entries(): [string, Cursor][] {
    if (!this.isPresent) return []
    if (isRecord(this.value)) return Object.keys(this.value).map(key => [key, this.get(key)])
    this.fail('must be an object')
    return []
  }

  string(): string | undefined {
    if (typeof this.value === 'string') return this.value
    if (this.isPresent) this.fail(`must be a string, is ${JSON.stringify(this.value)} (quote it)`)
    return undefined
  }

  integer(): number | undefined {
    if (typeof this.value === 'number' && Number.isInteger(this.value)) return this.value
    if (this.isPresent) this.fail('must be a whole number')
    return undefined
  }

  boolean(): boolean {
    if (typeof this.value === 'boolean') return this.value
    if (this.isPresent) this.fail('must be true or false')
    return false
  }

  strings(): string[] {
    return this.items().flatMap(item => {
      if (!item.isPresent) item.fail('must be a string')
      return item.string() ?? []
    })
  }
}
