import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type Document,
  type DocumentOptions,
  LineCounter,
  type ParseOptions,
  parseDocument,
  type SchemaOptions,
  visit,
  type YAMLError
} from 'yaml'
import type { ConfigProblem } from './config-problem.ts'

/** A file of the configuration that remembers lines and columns. */
export interface Source {
  /** The path as the user would type it. */
  file: string
  document: Document
  lines: LineCounter
  /** The document as plain data. */
  value: Record<string, unknown>
}

export interface ReadResult {
  sources: Source[]
  problems: ConfigProblem[]
}

/** A configuration is written by people; anything larger is a mistake that would cost memory and time. */
const largest = 4 * 1024 * 1024

/**
 * Reads a YAML file, or every `*.yaml` and `*.yml` of a folder in the order of their names. Never throws for what a user
 * can get wrong: that comes back as `problems`.
 */
export async function readSources(path: string): Promise<ReadResult> {
  const result: ReadResult = { sources: [], problems: [] }
  for (const file of await listFiles(path, result.problems)) {
    const text = await readText(file, result.problems)
    if (text === undefined) continue
    const parsed = parseSource(file, text)
    result.sources.push(...parsed.sources)
    result.problems.push(...parsed.problems)
  }
  return result
}

/** Parses one file. Pure. */
export function parseSource(file: string, text: string): ReadResult {
  const lines = new LineCounter()
  // Duplicate keys are found later, where both places can be named.
  const options: ParseOptions & DocumentOptions & SchemaOptions = {
    lineCounter: lines,
    prettyErrors: false,
    uniqueKeys: false,
    stringKeys: true,
    resolveKnownTags: false
  }
  let document: Document
  try {
    document = parseDocument(text, options)
  } catch (error) {
    return refused(file, 'is nested too deeply to be read', 'write it flatter', error)
  }
  const faults = [...document.errors, ...document.warnings]
  if (faults.length > 0)
    return { sources: [], problems: faults.map(fault => syntaxProblem(file, lines, fault)) }

  let value: unknown
  try {
    value = document.toJS({ maxAliasCount: 100 })
  } catch (error) {
    const dangling = danglingAlias(document)
    if (dangling) {
      const place = { file, ...lines.linePos(dangling.offset), path: '(yaml)' }
      const message = `*${dangling.name} refers to nothing above it`
      return {
        sources: [],
        problems: [{ ...place, message, remedy: `write &${dangling.name} where it is defined` }]
      }
    }
    return refused(file, 'expands aliases far too often', 'write the repeated parts out', error)
  }
  if (value === null || value === undefined) {
    return refused(file, 'is empty', 'write a configuration, or remove the file')
  }
  if (typeof value !== 'object' || Array.isArray(value)) {
    return refused(
      file,
      `holds ${Array.isArray(value) ? 'a list' : 'text'}`,
      'begin with keys: routes, upstreams, …'
    )
  }
  return { sources: [{ file, document, lines, value: value as Record<string, unknown> }], problems: [] }
}

async function listFiles(path: string, problems: ConfigProblem[]): Promise<string[]> {
  try {
    if (!(await stat(path)).isDirectory()) return [path]
    const names = (await readdir(path)).filter(isConfigName).sort()
    if (names.length > 0) return names.map(name => join(path, name))
    problems.push(fileProblem(path, 'holds no *.yaml or *.yml file', 'put a configuration there'))
  } catch (error) {
    problems.push(unreadable(path, error))
  }
  return []
}

/** A mounted ConfigMap holds its data again in folders `..data` and `..2026_…`: what begins with a dot is not ours. */
function isConfigName(name: string): boolean {
  return !name.startsWith('.') && /\.ya?ml$/.test(name)
}

async function readText(file: string, problems: ConfigProblem[]): Promise<string | undefined> {
  try {
    const { size } = await stat(file)
    if (size > largest) {
      problems.push(fileProblem(file, 'is larger than 4 MiB', 'split or shorten it'))
      return undefined
    }
    return new TextDecoder('utf-8', { fatal: true }).decode(await readFile(file))
  } catch (error) {
    problems.push(
      error instanceof TypeError
        ? fileProblem(file, 'is not UTF-8 text', 'save it as UTF-8')
        : unreadable(file, error)
    )
    return undefined
  }
}

function danglingAlias(document: Document): { name: string; offset: number } | undefined {
  let found: { name: string; offset: number } | undefined
  visit(document, {
    Alias(_, alias) {
      if (alias.resolve(document)) return undefined
      found = { name: alias.source, offset: alias.range?.[0] ?? 0 }
      return visit.BREAK
    }
  })
  return found
}

function syntaxProblem(file: string, lines: LineCounter, fault: YAMLError): ConfigProblem {
  const { line, col } = lines.linePos(fault.pos[0])
  const plain = plainWords[fault.code]
  const message = plain?.message ?? fault.message.split('\n')[0] ?? ''
  return { file, line, col, path: '(yaml)', message, remedy: plain?.remedy ?? 'correct the YAML' }
}

/** Where the parser speaks to programmers, or a remedy is known. */
const plainWords: Partial<Record<YAMLError['code'], { message: string; remedy: string }>> = {
  MULTIPLE_DOCS: {
    message: 'holds a second document',
    remedy: 'put each document into a file of its own, in one folder'
  },
  NON_STRING_KEY: { message: 'a key is not text', remedy: 'write a plain word before the colon' },
  TAG_RESOLVE_FAILED: { message: 'holds a tag that means nothing here', remedy: 'remove the tag' },
  TAB_AS_INDENT: { message: 'is indented with a tab', remedy: 'indent with blanks' }
}

function refused(file: string, message: string, remedy: string, cause?: unknown): ReadResult {
  // A stack overflow and a refused alias are the two ways in which the parser gives up; anything else is a defect.
  const expected = cause === undefined || cause instanceof RangeError || cause instanceof ReferenceError
  if (!expected) throw cause
  return { sources: [], problems: [fileProblem(file, message, remedy)] }
}

function unreadable(path: string, error: unknown): ConfigProblem {
  const code = (error as NodeJS.ErrnoException).code ?? 'unknown error'
  return fileProblem(path, `cannot be read (${code})`, 'check the path and its permissions')
}

function fileProblem(file: string, message: string, remedy: string): ConfigProblem {
  return { file, line: 1, col: 1, path: '(file)', message, remedy }
}
