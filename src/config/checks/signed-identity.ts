import { signingKeyFault } from '../../signed-identity/keys.ts'
import type { Check } from './context.ts'

/** What backends verify names the gateway, and is signed with a key that they can fetch. */
export const checkSignedIdentity: Check = ({ config, surroundings, isSound, report }) => {
  const sign = config.identity?.sign
  if (sign === undefined) return
  if (config.externalUrl === undefined && isSound(['externalUrl'])) {
    report(
      ['identity', 'sign'],
      'needs externalUrl: it names the gateway in what is signed',
      'add externalUrl: and how clients reach the gateway'
    )
  }
  const path = ['identity', 'sign', 'key']
  const text = surroundings === undefined || !isSound(path) ? null : surroundings.secretText(sign.key)
  const fault = text === null ? null : signingKeyFault(text)
  if (fault !== null)
    report(path, fault, 'make one with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256')
}
