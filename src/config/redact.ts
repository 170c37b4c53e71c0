import type { Config } from './schema.ts'
import { looksSecret } from './words.ts'

const hidden = '[redacted]'

/**
 * The configuration as `/config` shows it. References to secrets stay, since a name is no secret. Options of plugins may
 * hold what looks like one (a header that a plugin sets): those values, and passwords inside URLs, do not.
 */
export function redactConfig(config: Config): unknown {
  const { plugins, routes, ...rest } = config
  return {
    ...(hide(rest, false) as object),
    plugins: hide(plugins, true),
    routes: Object.fromEntries(Object.entries(routes).map(([name, route]) => [name, hide(route, true)]))
  }
}

function hide(value: unknown, byName: boolean, inSecret = false): unknown {
  if (typeof value === 'string') return inSecret ? hidden : withoutUserinfo(value)
  if (typeof value !== 'object' || value === null) return inSecret && value !== null ? hidden : value
  if (isReference(value)) return { ...value }
  if (Array.isArray(value)) return value.map(item => hide(item, byName, inSecret))
  return Object.fromEntries(
    Object.entries(value).map(([key, child]) => [
      key,
      hide(child, byName, inSecret || (byName && hidesValues(key)))
    ])
  )
}

/** What a plugin sets on requests (`headers`: `set`) may be a credential whatever its name is. */
function hidesValues(key: string): boolean {
  return key === 'set' || looksSecret(key)
}

function isReference(value: object): boolean {
  const [key, ...others] = Object.keys(value)
  if (others.length > 0 || (key !== 'env' && key !== 'file')) return false
  return typeof (value as Record<string, unknown>)[key] === 'string'
}

function withoutUserinfo(text: string): string {
  return text.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/?#@]*@/i, `$1${hidden}@`)
}
