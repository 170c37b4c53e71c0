/** Where in the configuration: keys and list positions from the root. */
export type Path = readonly (string | number)[]

/** One thing that is wrong with the configuration. Lines and columns count from 1. */
export interface ConfigProblem {
  file: string
  line: number
  col: number
  /** Readable form of the path, e.g. `routes.orders.plugins[1].jwt.issuer`. */
  path: string
  message: string
  remedy: string
}

/** The configuration cannot be used. `message` has one line per problem; none of them holds a secret. */
export class ConfigError extends Error {
  readonly code = 'SP_CONFIG_INVALID'
  readonly errors: readonly ConfigProblem[]

  constructor(errors: readonly ConfigProblem[]) {
    super(errors.map(formatProblem).join('\n'))
    this.name = 'ConfigError'
    this.errors = errors
  }
}

/** `file:line:col  path  what is wrong  what to do`, always on one line. */
export function formatProblem(problem: ConfigProblem): string {
  const place = `${problem.file}:${problem.line}:${problem.col}`
  return [place, problem.path, problem.message, problem.remedy].map(oneLine).join('  ')
}

export function formatPath(path: Path): string {
  if (path.length === 0) return '(document)'
  return path.reduce<string>((text, key) => {
    if (typeof key === 'number') return `${text}[${key}]`
    if (!/^[\w-]+$/.test(key)) return `${text}[${JSON.stringify(key)}]`
    return text === '' ? key : `${text}.${key}`
  }, '')
}

/** In the order in which a reader meets them; the same line only once. */
export function sortProblems(problems: readonly ConfigProblem[]): ConfigProblem[] {
  const byText = new Map(problems.map(problem => [formatProblem(problem), problem]))
  return [...byText.values()].sort(
    (a, b) => compare(a.file, b.file) || a.line - b.line || a.col - b.col || compare(a.path, b.path)
  )
}

// Not localeCompare: the order must not depend on the machine's language.
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ')
}
