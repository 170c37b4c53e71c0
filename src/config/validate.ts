import { type SchemaObject, schemaErrors } from './ajv.ts'
import type { CheckContext, Surroundings } from './checks/context.ts'
import { checks } from './checks/index.ts'
import { type ConfigProblem, formatPath, type Path, sortProblems } from './config-problem.ts'
import { explainErrors, type Finding } from './explain.ts'
import { type Merged, mergeSources } from './merge.ts'
import { normalise } from './normalise.ts'
import { type CheckedUse, type PluginMap, readPluginUses } from './plugin-uses.ts'
import { prune } from './prune.ts'
import type { Source } from './read.ts'
import { baseSchema, type Config, type SecretRef } from './schema.ts'

export type ValidationResult =
  | { config: Config; errors?: undefined }
  | { config?: undefined; errors: ConfigProblem[] }

/**
 * The step from documents to a configuration: merge, judge by the schema, fill in, then judge what a schema cannot say.
 * Every problem is reported at once. Without `surroundings` nobody looks whether secrets exist. Pure otherwise.
 */
export function validate(
  sources: readonly Source[],
  plugins: PluginMap,
  surroundings?: Surroundings
): ValidationResult {
  return validateMerged(mergeSources(sources), plugins, surroundings)
}

export function validateMerged(
  merged: Merged,
  plugins: PluginMap,
  surroundings?: Surroundings
): ValidationResult {
  const problems: ConfigProblem[] = [...merged.problems]
  const faulty: Path[] = []
  const add = ({ path, message, remedy }: Finding) => {
    problems.push({ ...merged.locate(path), path: formatPath(path), message, remedy })
  }

  for (const finding of explainErrors(schemaErrors(baseSchema, merged.value), baseSchema, merged.value)) {
    add(finding)
    faulty.push(finding.path)
  }

  const sound = prune(baseSchema, merged.value)
  if (!sound) return { errors: sortProblems(problems) }

  const secrets: { ref: SecretRef; path: Path }[] = []
  const collectSecret = (schema: SchemaObject, value: unknown, path: Path) => {
    if (schema['x-secret'] === true) secrets.push({ ref: value as SecretRef, path })
  }
  const config = normalise(baseSchema, sound, collectSecret) as Config
  completeListeners(config)

  const uses = new Map<string, CheckedUse[]>()
  config.plugins = readUses('', ['plugins'], config.plugins)
  for (const [name, route] of Object.entries(config.routes)) {
    route.plugins = readUses(name, ['routes', name, 'plugins'], route.plugins)
  }

  const context: CheckContext = {
    config,
    secrets,
    surroundings,
    names: { upstreams: namesIn('upstreams'), issuers: namesIn('issuers') },
    uses: route => uses.get(route) ?? [],
    isSound: path => !faulty.some(fault => isWithin(path, fault) || isWithin(fault, path)),
    place: path => {
      const { file, line, col } = merged.locate(path)
      return `${file}:${line}:${col}`
    },
    report: (path, message, remedy) => add({ path, message, remedy })
  }
  for (const check of checks) check(context)

  return problems.length > 0 ? { errors: sortProblems(problems) } : { config: completeUpstreams(config) }

  function readUses(route: string, path: Path, entries: readonly unknown[]) {
    const read = readPluginUses(entries, path, plugins, collectSecret)
    uses.set(route, read.uses)
    for (const finding of read.findings) {
      add(finding)
      faulty.push(finding.path)
    }
    return read.uses.map(({ name, options }) => ({ name, options }))
  }

  function namesIn(section: string): ReadonlySet<string> {
    const names = merged.value[section]
    return new Set(typeof names === 'object' && names !== null ? Object.keys(names) : [])
  }
}

/** Somebody who configures no public listener at all gets the plain one; whoever names one gets only those named. */
function completeListeners(config: Config): void {
  const { http, h2c, https } = config.listeners
  if (!http && !h2c && !https) config.listeners.http = { host: '0.0.0.0', port: 8080 }
}

/** From here on nobody asks whether the user wrote `url` or `endpoints`. */
function completeUpstreams(config: Config): Config {
  for (const upstream of Object.values(config.upstreams)) {
    const written = upstream.url === undefined ? upstream.endpoints : [upstream.url]
    upstream.endpoints = written.map(url => new URL(url).origin)
    if (upstream.url !== undefined) upstream.url = new URL(upstream.url).origin
  }
  return config
}

function isWithin(path: Path, parent: Path): boolean {
  return parent.every((key, index) => path[index] === key)
}
