import * as openid from 'openid-client'
import { isTrustworthyUrl } from '../issuer/discovery.ts'
import { boundedFetch } from '../plugin/gateway.ts'
import { IssuerUnavailable } from './issuer-failure.ts'

/** The gateway as a client of one issuer. */
export interface OidcClientSettings {
  readonly issuer: string
  readonly algorithms: readonly string[]
  /** Milliseconds. */
  readonly clockTolerance: number
  readonly clientId: string
  /** Null: a public client, whom PKCE alone protects. */
  readonly clientSecret: string | null
  readonly scopes: readonly string[]
}

const timeoutSeconds = 5
/** Metadata are read again after this long. */
const rediscoverAfter = 3_600_000
/** While discovery fails, the waits between attempts double from the first to the last. */
const firstBackoff = 1000
const lastBackoff = 30_000

type Endpoint = 'authorization_endpoint' | 'token_endpoint' | 'userinfo_endpoint' | 'jwks_uri'
const endpoints: readonly Endpoint[] = [
  'authorization_endpoint',
  'token_endpoint',
  'userinfo_endpoint',
  'jwks_uri'
]

/**
 * What the library knows of one issuer. Its metadata are asked for when they are needed, never at a start; there is one request for
 * them under way at a time, and none in vain more often than the backoff allows.
 */
export class OidcConfiguration {
  readonly #settings: OidcClientSettings
  #flight: Promise<openid.Configuration> | null = null
  #known: { configuration: openid.Configuration; until: number } | null = null
  #failures = 0
  #retryAt = 0

  constructor(settings: OidcClientSettings) {
    this.#settings = settings
  }

  /** Rejects with `IssuerUnavailable`. */
  get(): Promise<openid.Configuration> {
    if (this.#known !== null && Date.now() < this.#known.until)
      return Promise.resolve(this.#known.configuration)
    if (this.#flight !== null) return this.#flight
    if (Date.now() < this.#retryAt) {
      // Old metadata are better than none.
      if (this.#known !== null) return Promise.resolve(this.#known.configuration)
      return Promise.reject(new IssuerUnavailable(`${this.#settings.issuer} did not answer just now`))
    }
    this.#flight = this.#discover().finally(() => {
      this.#flight = null
    })
    return this.#flight
  }

  async #discover(): Promise<openid.Configuration> {
    try {
      const configuration = await this.#ask()
      this.#known = { configuration, until: Date.now() + rediscoverAfter }
      this.#failures = 0
      this.#retryAt = 0
      return configuration
    } catch (error) {
      this.#retryAt = Date.now() + Math.min(firstBackoff * 2 ** this.#failures++, lastBackoff)
      if (this.#known !== null) return this.#known.configuration
      throw new IssuerUnavailable(`the metadata of ${this.#settings.issuer} cannot be read`, { cause: error })
    }
  }

  async #ask(): Promise<openid.Configuration> {
    const { issuer, clientId, algorithms } = this.#settings
    if (!isTrustworthyUrl(issuer)) throw new Error(`${issuer} is neither https nor on the loopback interface`)
    const isLocal = issuer.startsWith('http:')
    const found = await openid.discovery(new URL(issuer), clientId, undefined, openid.None(), {
      execute: isLocal ? [openid.allowInsecureRequests] : [],
      [openid.customFetch]: boundedFetch as openid.CustomFetch,
      timeout: timeoutSeconds
    })
    const { supportsPKCE: _, ...metadata } = found.serverMetadata()
    // Byte for byte: the library compares URLs, and knows issuers that may differ.
    if (metadata.issuer !== issuer) throw new Error(`the metadata are those of ${metadata.issuer}`)
    for (const name of endpoints) {
      const url = metadata[name]
      if (url === undefined && name === 'userinfo_endpoint') continue
      if (url === undefined || !isTrustworthyUrl(url) || (url.startsWith('http:') && !isLocal))
        throw new Error(`the metadata of ${issuer} name no ${name} that can be trusted`)
    }
    const signedWith = metadata.id_token_signing_alg_values_supported ?? ['RS256']
    const configuration = new openid.Configuration(
      {
        ...metadata,
        // Only what the configuration pins, whatever else the issuer would do.
        id_token_signing_alg_values_supported: signedWith.filter(one => algorithms.includes(one))
      },
      clientId,
      { [openid.clockTolerance]: Math.round(this.#settings.clockTolerance / 1000) },
      this.#authentication(metadata)
    )
    configuration[openid.customFetch] = boundedFetch as openid.CustomFetch
    configuration.timeout = timeoutSeconds
    if (isLocal) openid.allowInsecureRequests(configuration)
    // The signature of ID tokens is verified although they come straight from the issuer.
    openid.enableNonRepudiationChecks(configuration)
    return configuration
  }

  /** RFC 6749, 2.3.1: HTTP Basic is what every issuer must take, unless it says otherwise. */
  #authentication({ token_endpoint_auth_methods_supported }: openid.ServerMetadata): openid.ClientAuth {
    const { clientSecret } = this.#settings
    if (clientSecret === null) return openid.None()
    const methods = token_endpoint_auth_methods_supported ?? ['client_secret_basic']
    const isPost = !methods.includes('client_secret_basic') && methods.includes('client_secret_post')
    return isPost ? openid.ClientSecretPost(clientSecret) : openid.ClientSecretBasic(clientSecret)
  }
}
