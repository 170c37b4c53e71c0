import type { Config } from '../config/schema.ts'
import { identityReader } from '../issuer/claims.ts'
import type { IssuerRegistry } from '../issuer/keys.ts'
import type { Logger } from '../log.ts'
import type { Registry } from '../registry.ts'
import type { RedisClient } from '../store/redis-client.ts'
import type { SessionStore } from './contract.ts'
import { cookieShape } from './cookie.ts'
import { MemorySessionStore } from './memory-store.ts'
import { OidcClient } from './oidc-client.ts'
import type { OidcClientSettings } from './oidc-configuration.ts'
import type { SessionIssuer } from './options.ts'
import { RedisSessionStore } from './redis-store.ts'
import { Refresher } from './refresher.ts'
import { Sessions } from './sessions.ts'

export interface SessionRegistryOptions {
  readonly log: Logger
  readonly registry: Registry
  readonly issuers: IssuerRegistry
  readonly store?: SessionStore
  /** The secret behind a reference; rejects when there is none. */
  readSecret(ref: { env: string } | { file: string }): Promise<string>
}

/** Where sessions are, and who refreshes those. */
interface Keeping {
  readonly store: SessionStore
  readonly refresher: Refresher
}

/** What of sign-in outlives generations: sessions, what is known of issuers, refreshes under way. One per process. */
export class SessionRegistry {
  readonly #options: SessionRegistryOptions
  readonly #memory: Keeping
  /** By the connection that several configurations may use. */
  readonly #shared = new WeakMap<RedisClient, Keeping>()
  readonly #clients = new Map<string, OidcClient>()

  constructor(options: SessionRegistryOptions) {
    this.#options = options
    this.#memory = this.#keeping(options.store ?? new MemorySessionStore())
  }

  /** Sign-in as `config` describes it; null where it does not. Sessions are in `redis`, or in memory where that is null. */
  async get(config: Config, redis: RedisClient | null = null): Promise<Sessions | null> {
    const { session, externalUrl } = config
    if (session === undefined || externalUrl === undefined) return null
    const issuers = new Map<string, SessionIssuer>()
    for (const name of Object.keys(config.issuers)) {
      const issuer = await this.#issuer(name, config)
      if (issuer !== null) issuers.set(name, issuer)
    }
    const signIns = this.#options.registry.number('sign_ins_total')
    return new Sessions({
      ...(redis === null ? this.#memory : this.#sharedIn(redis)),
      log: this.#options.log,
      secret: await this.#options.readSecret(session.secret),
      cookie: cookieShape(session.cookie, externalUrl),
      externalUrl,
      hosts: Object.values(config.routes).flatMap(route => route.match.hosts.map(host => host.toLowerCase())),
      idle: session.idle,
      lifetime: session.lifetime,
      issuers,
      signedIn: (issuer, result) => {
        signIns.child(issuer, result).value++
      }
    })
  }

  close(): Promise<void> {
    return this.#memory.store.close()
  }

  #sharedIn(redis: RedisClient): Keeping {
    let keeping = this.#shared.get(redis)
    if (keeping === undefined) {
      keeping = this.#keeping(new RedisSessionStore(redis))
      this.#shared.set(redis, keeping)
    }
    return keeping
  }

  #keeping(store: SessionStore): Keeping {
    const { log, registry } = this.#options
    const refreshes = registry.number('session_refreshes_total')
    const refreshed = (issuer: string, result: string) => {
      refreshes.child(issuer, result).value++
    }
    return { store, refresher: new Refresher({ store, log, refreshed }) }
  }

  async #issuer(name: string, config: Config): Promise<SessionIssuer | null> {
    const settings = config.issuers[name]
    if (settings?.client === undefined) return null
    const { id, secret, scopes } = settings.client
    return {
      name,
      client: this.#client({
        issuer: settings.issuer,
        algorithms: settings.algorithms,
        clockTolerance: settings.clockTolerance,
        clientId: id,
        clientSecret: secret === undefined ? null : await this.#options.readSecret(secret),
        scopes
      }),
      verifier: this.#options.issuers.get(name, settings),
      readIdentity: identityReader(settings),
      staleIfError: settings.jwks.staleIfError
    }
  }

  /** The same client for the same settings: a reload asks no issuer for its metadata again. */
  #client(settings: OidcClientSettings): OidcClient {
    const key = JSON.stringify(settings)
    const known = this.#clients.get(key)
    if (known !== undefined) return known
    const client = new OidcClient(settings)
    if (this.#clients.size >= maxClients) this.#clients.clear()
    this.#clients.set(key, client)
    return client
  }
}

/** Metadata of issuers are small and can be fetched again: after so many changes of settings they are. */
const maxClients = 100
