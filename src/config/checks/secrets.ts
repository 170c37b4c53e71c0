import type { Check } from './context.ts'

/** Every secret that is referred to exists, now rather than at the first request that needs it. Its content is never shown. */
export const checkSecrets: Check = ({ secrets, surroundings, report }) => {
  if (!surroundings) return
  for (const { ref, path } of secrets) {
    if ('env' in ref) {
      const value = surroundings.env[ref.env]
      if (value === undefined) {
        report(path, `environment variable ${ref.env} is not set`, 'set it where the gateway is started')
      } else if (value === '') {
        report(path, `environment variable ${ref.env} is empty`, 'set it where the gateway is started')
      }
      continue
    }
    const fault = surroundings.fileFault(ref.file)
    if (fault) report(path, `file ${ref.file} ${fault}`, 'check the path, the mount and its permissions')
  }
}
