import type { Config, RouteConfig } from '../../src/config/schema.ts'
import type { OptionProblem } from '../../src/plugin/define.ts'

/** Bytes: the most that `request.gateway.readJson` takes. */
const mostReadable = 1_048_576

/** What is wrong with the option `body`, beside what the expression does with it. */
export function problemsOfBody(
  maxSize: number,
  allow: string | undefined,
  config: Config,
  route: RouteConfig | null | undefined
): OptionProblem[] {
  const problems: OptionProblem[] = []
  const foreign = foreignRoute(config, route)
  if (foreign !== null) {
    const where = foreign.name === null ? 'this route' : `route ${foreign.name}`
    const message = `${where} has protocol: ${foreign.protocol}, whose messages are not read`
    problems.push({ path: ['body'], message, remedy: 'decide without the body there' })
  }
  if (maxSize < 1 || maxSize > mostReadable) {
    const remedy = 'write a size from 1 to 1Mi; 16Ki is enough for most'
    problems.push({ path: ['body', 'maxSize'], message: 'no body of this size is read', remedy })
  }
  if (allow === undefined) {
    const message = 'there is no expression that looks at the body'
    problems.push({ path: ['body'], message, remedy: 'add allow, or remove body' })
  }
  return problems
}

type ForeignRoute = { name: string | null; protocol: string } | null

/** A route that has no such body: the plugin's own, or any where it stands on all of them. */
function foreignRoute(config: Config, route: RouteConfig | null | undefined): ForeignRoute {
  if (route) return route.match.protocol === 'http' ? null : { name: null, protocol: route.match.protocol }
  for (const [name, { match }] of Object.entries(config.routes ?? {}))
    if (match.protocol !== 'http') return { name, protocol: match.protocol }
  return null
}
