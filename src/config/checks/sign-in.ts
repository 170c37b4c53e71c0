import { cookieName } from '../../session/cookie.ts'
import type { Config } from '../schema.ts'
import type { Check } from './context.ts'

const shortestSecret = 32

/** Sessions are worth as much as what they are signed with, and a cookie as much as what browsers promise of its name. */
export const checkSignIn: Check = ({ config, surroundings, isSound, report }) => {
  const { session, externalUrl } = config
  if (session === undefined) return
  if (externalUrl === undefined && isSound(['externalUrl'])) {
    report(
      ['session'],
      'needs externalUrl: browsers come back to it from the issuer',
      'add externalUrl: and how browsers reach the gateway'
    )
  }
  judgeCookie(session.cookie)
  if (session.lifetime < session.idle)
    report(
      ['session', 'idle'],
      'is longer than the lifetime, so it never ends a session',
      'write a shorter one'
    )
  const path = ['session', 'secret']
  const text = surroundings === undefined || !isSound(path) ? null : surroundings.secretText(session.secret)
  if (text !== null && text.length < shortestSecret)
    report(path, `is shorter than ${shortestSecret} characters`, 'make one with: openssl rand -base64 48')
  for (const name of routesOnOwnPaths(config)) {
    report(
      ['routes', name, 'match', 'path'],
      'the gateway answers /oauth2/ itself where people sign in',
      'give the route another path'
    )
  }

  function judgeCookie(name: string): void {
    if (!cookieName.test(name)) {
      report(['session', 'cookie'], 'is no name of a cookie', 'write letters, digits and -')
    } else if (!name.startsWith('__Host-')) {
      const remedy = 'write __Host- before it; without TLS, on loopback, the gateway leaves it out'
      report(
        ['session', 'cookie'],
        'does not begin with __Host-: other hosts of the domain could set it',
        remedy
      )
    } else if (name.length < '__Host-'.length + 3) {
      report(
        ['session', 'cookie'],
        'is too short to be told from other cookies',
        'write 3 characters or more after __Host-'
      )
    }
  }
}

function routesOnOwnPaths(config: Config): string[] {
  return Object.entries(config.routes)
    .filter(([, { match }]) => match.protocol === 'http' && match.path?.startsWith('/oauth2/') === true)
    .map(([name]) => name)
}
