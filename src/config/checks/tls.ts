import { examine } from '../../tls/examine.ts'
import type { Check } from './context.ts'

/**
 * The certificates of the listener can be served: what is found here would otherwise be found at the start, or by clients.
 * What is missing is `checkSecrets`'s. A certificate out of its time is no fault of the configuration.
 */
export const checkTls: Check = ({ config, surroundings, isSound, report }) => {
  const { https } = config.listeners
  const path = ['listeners', 'https', 'tls']
  if (!surroundings || !https || !isSound(path)) return
  for (const fault of examine(https.tls, surroundings.secretText).faults) {
    report([...path, ...fault.path], fault.message, fault.remedy)
  }
}
