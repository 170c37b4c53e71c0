import { isAlias, isMap, isNode, isScalar, isSeq, type Node, type Pair, type YAMLMap } from 'yaml'
import type { Path } from './config-problem.ts'
import type { Source } from './read.ts'

export interface Position {
  file: string
  line: number
  col: number
}

/**
 * Where a path is written: the key of a map's entry, the item of a list. What is not written there (a missing key) is
 * where its nearest parent is.
 */
export function locate(source: Source, path: Path): Position {
  let node: unknown = source.document.contents
  let at: unknown = node
  for (const key of path) {
    const target = isAlias(node) ? node.resolve(source.document) : node
    if (isMap(target)) {
      const pair = entry(target, String(key))
      if (!pair) break
      at = pair.key
      node = pair.value
    } else if (isSeq(target)) {
      const item = target.items[Number(key)]
      if (item === undefined) break
      at = item
      node = item
    } else {
      break
    }
  }
  return positionOf(source, at)
}

export function positionOf(source: Source, node: unknown): Position {
  const offset = isNode(node) ? ((node as Node).range?.[0] ?? 0) : 0
  const { line, col } = source.lines.linePos(offset)
  return { file: source.file, line: Math.max(line, 1), col: Math.max(col, 1) }
}

/** The last entry of that name, since that is the one whose value counts when a name is there twice. */
function entry(map: YAMLMap, key: string): Pair | undefined {
  return map.items.findLast(pair => keyText(pair) === key)
}

export function keyText(pair: Pair): string {
  return isScalar(pair.key) ? String(pair.key.value) : String(pair.key)
}
