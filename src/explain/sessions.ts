import type { SessionStore } from '../session/contract.ts'
import { Sessions } from '../session/sessions.ts'

/** Sign-in as it is, to look at: no session is used, refreshed or ended by being explained, and no sign-in begins. */
export function lookingSessions(live: Sessions): Sessions {
  const { store, refresher } = live.options
  return new Sessions({
    ...live.options,
    store: lookingStore(store),
    refresher: {
      rests: id => refresher.rests(id),
      // Tokens that are due would be refreshed: what is known of the session is what is explained.
      refresh: async id => store.get(id)
    },
    signedIn: () => undefined
  })
}

function lookingStore(live: SessionStore): SessionStore {
  return {
    name: live.name,
    get: id => live.get(id),
    list: query => live.list(query),
    set: () => undefined,
    update: () => true,
    touch: () => undefined,
    destroy: () => undefined,
    destroyOf: () => 0,
    end: () => null,
    keep: () => undefined,
    take: () => null,
    lock: () => null,
    close: async () => undefined
  }
}
