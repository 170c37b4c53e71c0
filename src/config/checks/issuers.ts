import { show } from '../words.ts'
import type { Check } from './context.ts'
import { secureUrlFault } from './url.ts'

/** Keys and metadata of an issuer decide who gets in: they only come over https. */
export const checkIssuers: Check = ({ config, report }) => {
  for (const [name, { issuer, jwks }] of Object.entries(config.issuers)) {
    judge(issuer, ['issuers', name, 'issuer'])
    if (jwks.url !== undefined) judge(jwks.url, ['issuers', name, 'jwks', 'url'])
  }

  function judge(url: string, path: string[]): void {
    const fault = secureUrlFault(url)
    if (!fault) return
    const shown = fault.startsWith('holds') ? 'the URL' : show(url)
    report(path, `${shown} ${fault}`, 'write an https:// URL; plain http only for localhost')
  }
}
