import { isMap, isSeq } from 'yaml'
import { type ConfigProblem, formatPath, type Path } from './config-problem.ts'
import { keyText, locate, type Position, positionOf } from './position.ts'
import type { Source } from './read.ts'

/** One configuration made of all files, which still knows where everything is written. */
export interface Merged {
  value: Record<string, unknown>
  files: string[]
  locate(path: Path): Position
  problems: ConfigProblem[]
}

/** Sections whose entries may be spread over several files; every other section belongs to one file as a whole. */
const spread = new Set(['listeners', 'limits', 'issuers', 'upstreams', 'routes'])

/** Merges files in the order given. A name that is defined twice is a problem that cites both places. Pure. */
export function mergeSources(sources: readonly Source[]): Merged {
  const value: Record<string, unknown> = {}
  const owners = new Map<string, Source>()
  const problems: ConfigProblem[] = sources.flatMap(findDuplicateKeys)

  for (const source of sources) {
    for (const [section, content] of Object.entries(source.value)) {
      const existing = value[section]
      if (spread.has(section) && isRecord(content) && (existing === undefined || isRecord(existing))) {
        const target = existing ?? {}
        setOwn(value, section, target)
        if (!owners.has(section)) owners.set(section, source)
        for (const [name, part] of Object.entries(content)) {
          claim(source, [section, name])
          setOwn(target, name, part)
        }
      } else {
        claim(source, [section])
        setOwn(value, section, content)
      }
    }
  }
  return { value, files: sources.map(source => source.file), locate: place, problems }

  function claim(source: Source, path: Path): void {
    const key = ownerKey(path)
    const first = owners.get(key)
    if (first) problems.push(twice(path, locate(source, path), locate(first, path)))
    else owners.set(key, source)
  }

  function place(path: Path): Position {
    const source =
      owners.get(ownerKey(path.slice(0, 2))) ?? owners.get(ownerKey(path.slice(0, 1))) ?? sources[0]
    return source ? locate(source, path) : { file: '', line: 1, col: 1 }
  }
}

/** Two keys of the same name in one map: YAML forbids it, and the reader could not know which one counts. */
function findDuplicateKeys(source: Source): ConfigProblem[] {
  const problems: ConfigProblem[] = []
  visit(source.document.contents, [])
  return problems

  function visit(node: unknown, path: Path): void {
    if (isSeq(node)) {
      for (const [index, item] of node.items.entries()) visit(item, [...path, index])
      return
    }
    if (!isMap(node)) return
    const seen = new Map<string, Position>()
    for (const pair of node.items) {
      const key = keyText(pair)
      const here = positionOf(source, pair.key)
      const first = seen.get(key)
      if (first) problems.push(twice([...path, key], here, first))
      else seen.set(key, here)
      visit(pair.value, [...path, key])
    }
  }
}

function twice(path: Path, here: Position, first: Position): ConfigProblem {
  return {
    ...here,
    path: formatPath(path),
    message: `is defined twice, first at ${first.file}:${first.line}:${first.col}`,
    remedy: 'keep one of them, or give it another name'
  }
}

function ownerKey(path: Path): string {
  return JSON.stringify(path)
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** `__proto__` is an ordinary key of a YAML file, and must stay one. */
function setOwn(target: Record<string, unknown>, key: string, value: unknown): void {
  Object.defineProperty(target, key, { value, enumerable: true, configurable: true, writable: true })
}
