import type { CheckedUse } from '../plugin-uses.ts'
import type { Check } from './context.ts'

/** The second look that a plugin takes at its options, with the whole configuration at hand. */
export const checkPluginOptions: Check = ({ config, uses, isSound, report }) => {
  // A plugin would call an issuer unknown that is only written wrongly, which is reported already.
  const complete = ['issuers', 'upstreams', 'session', 'identity', 'redis'].every(section =>
    isSound([section])
  )
  if (!complete) return
  for (const use of uses('')) judge(use)
  for (const name of Object.keys(config.routes)) {
    for (const use of uses(name)) judge(use)
  }

  function judge({ name, plugin, options, path }: CheckedUse): void {
    try {
      const problems = plugin.check?.(options as Record<string, unknown>, config) ?? []
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
