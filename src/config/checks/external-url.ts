import type { Check } from './context.ts'
import { originFault, secureUrlFault } from './url.ts'

/** Redirects and signed identities are built from it. */
export const checkExternalUrl: Check = ({ config, report }) => {
  if (config.externalUrl === undefined) return
  const fault = originFault(config.externalUrl) ?? secureUrlFault(config.externalUrl)
  if (fault)
    report(
      ['externalUrl'],
      fault,
      'write scheme and host: https://api.example.com; plain http only for localhost'
    )
}
