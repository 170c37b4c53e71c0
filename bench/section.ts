import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './runtime.ts'

const file = join(root, 'docs', 'benchmarks.md')

/**
 * Puts a section that a program writes into the kept part of docs/benchmarks.md: in place of the one that it wrote before,
 * or at the end. Two comments that nobody sees mark it.
 */
export function writeSection(program: string, text: string): void {
  const page = readFileSync(file, 'utf8')
  const open = `<!-- Written by \`node ${program}\`: do not edit. -->`
  const close = `<!-- End of \`node ${program}\`. -->`
  const section = `${open}\n\n${text.trim()}\n\n${close}\n`
  const from = page.indexOf(open)
  const end = page.indexOf(close)
  if (from === -1 || end === -1) writeFileSync(file, `${page.trimEnd()}\n\n${section}`)
  else writeFileSync(file, `${page.slice(0, from)}${section}${page.slice(end + close.length + 1)}`)
}
