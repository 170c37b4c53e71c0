import type { Check } from './context.ts'

/** Fail closed: a route asks who its clients are, or says in so many words that it does not. */
export const checkAccess: Check = ({ config, uses, isSound, report }) => {
  // A plugin that was not understood may be the one that authenticates: it is reported already.
  const globalsSound = isSound(['plugins'])
  for (const [name, route] of Object.entries(config.routes)) {
    const authenticator = [...uses(''), ...uses(name)].find(use => use.plugin.phase === 'authenticate')
    if (route.public && authenticator) {
      report(
        ['routes', name, 'public'],
        `says that nobody is asked, but plugin ${authenticator.name} asks`,
        `remove public: true, or the plugin ${authenticator.name}`
      )
    }
    if (route.public || authenticator || !globalsSound) continue
    if (!isSound(['routes', name, 'plugins']) || !isSound(['routes', name, 'public'])) continue
    report(
      ['routes', name],
      'lets everybody in: no plugin authenticates',
      'add a plugin such as jwt, or say public: true'
    )
  }
}
