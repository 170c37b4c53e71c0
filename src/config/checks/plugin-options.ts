import type { CheckedUse } from '../plugin-uses.ts'
import type { RouteConfig } from '../schema.ts'
import type { Check } from './context.ts'

/** The second look that a plugin takes at its options, with the whole configuration at hand. */
export const checkPluginOptions: Check = ({ config, uses, isSound, report }) => {
  // A plugin would call an issuer unknown that is only written wrongly, which is reported already.
  const complete = ['listeners', 'issuers', 'upstreams', 'session', 'identity', 'redis'].every(section =>
    isSound([section])
  )
  if (!complete) return
  for (const use of uses('')) judge(use, null)
  for (const [name, route] of Object.entries(config.routes)) {
    for (const use of uses(name)) judge(use, route)
  }

  function judge({ name, plugin, options, path, inner }: CheckedUse, route: RouteConfig | null): void {
    for (const each of inner ?? []) judge(each, route)
    try {
      const problems = plugin.check?.(options as Record<string, unknown>, config, route) ?? []
      for (const problem of problems) report([...path, ...problem.path], problem.message, problem.remedy)
    } catch (error) {
      report(
        path,
        `the check of plugin ${name} failed: ${(error as Error).message}`,
        'correct the options or the plugin'
      )
    }
  }
}
