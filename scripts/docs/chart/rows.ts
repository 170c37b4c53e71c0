import { code } from '../markdown.ts'
import { readValues, type ValueNode } from './read-values.ts'

export interface ValueSection {
  /** Key of the section, or empty for keys that stand alone. */
  title: string
  rows: string[][]
}

export const valueHeadings = ['Key', 'Default', 'Description'] as const

/** Tables of all values, in the order of values.yaml; keys without keys below them are gathered. */
export async function valueSections(): Promise<ValueSection[]> {
  const sections: ValueSection[] = []
  for (const node of await readValues()) {
    const title = node.children === undefined ? '' : node.key
    const last = sections.at(-1)
    if (last !== undefined && last.title === title && title === '') last.rows.push(...rowsOf(node))
    else sections.push({ title, rows: rowsOf(node) })
  }
  return sections
}

function rowsOf(node: ValueNode): string[][] {
  if (node.children !== undefined) return node.children.flatMap(rowsOf)
  return [[code(node.path), code(defaultText(node)), node.description]]
}

function defaultText({ key, value }: ValueNode): string {
  if (key === 'config') return 'two listeners, no route'
  return JSON.stringify(value).replaceAll('"', value === '' || typeof value === 'string' ? '"' : '')
}
