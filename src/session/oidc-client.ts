import * as openid from 'openid-client'
import { isTrustworthyUrl } from '../issuer/discovery.ts'
import type { Logger } from '../log.ts'
import { boundedFetch } from '../plugin/gateway.ts'

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

/** What the issuer has said of a person. Times: ms since the epoch. */
export interface SignedIn {
  readonly subject: string
  readonly sid: string | null
  /** Of the ID token; null when there is none. */
  readonly claims: Record<string, unknown> | null
  /** Null: the issuer has said nothing beside the ID token. */
  readonly userInfo: Record<string, unknown> | null
  /** Null: the one that was asked for, or had before. */
  readonly scope: string | null
  readonly idToken: string | null
  readonly refreshToken: string | null
  /** When the tokens expire; null when the issuer does not say. */
  readonly expiresAt: number | null
}

/** What a sign-in leaves behind until the browser comes back. */
export interface AuthorizationRequest {
  readonly url: string
  readonly state: string
  readonly nonce: string
  readonly verifier: string
}

/** The issuer has said no, or what came from it or through the browser is not what was asked for. */
export class SignInRefused extends Error {
  override readonly name = 'SignInRefused'

  /** The person, or the issuer in the person's face, has said no (RFC 6749, 4.1.2.1). */
  get isDenied(): boolean {
    return (this.cause as { error?: unknown } | undefined)?.error === 'access_denied'
  }
}

/** The issuer does not answer, or not as one. */
export class IssuerUnavailable extends Error {
  override readonly name = 'IssuerUnavailable'
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
 * OpenID Connect with one issuer. Its metadata are asked for when somebody signs in, never at a start; there is one request
 * for them under way at a time, and none in vain more often than the backoff allows.
 */
export class OidcClient {
  readonly settings: OidcClientSettings
  #flight: Promise<openid.Configuration> | null = null
  #known: { configuration: openid.Configuration; until: number } | null = null
  #failures = 0
  #retryAt = 0

  constructor(settings: OidcClientSettings) {
    this.settings = settings
  }

  /** Whether its answers say who gives them (RFC 9207). Rejects with `IssuerUnavailable`. */
  async saysIssuer(): Promise<boolean> {
    const configuration = await this.#configuration()
    return configuration.serverMetadata().authorization_response_iss_parameter_supported === true
  }

  /** A request for a sign-in that comes back to `redirectUri`. Rejects with `IssuerUnavailable`. */
  async begin(redirectUri: string): Promise<AuthorizationRequest> {
    const configuration = await this.#configuration()
    const state = openid.randomState()
    const nonce = openid.randomNonce()
    const verifier = openid.randomPKCECodeVerifier()
    const { scopes } = this.settings
    const url = openid.buildAuthorizationUrl(configuration, {
      redirect_uri: redirectUri,
      scope: scopes.join(' '),
      state,
      nonce,
      code_challenge: await openid.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
      // OpenID Connect Core, 11: without a prompt an issuer gives no refresh token for it.
      ...(scopes.includes('offline_access') && { prompt: 'consent' })
    })
    return { url: url.href, state, nonce, verifier }
  }

  /**
   * Takes the browser's way back.
   * @param currentUrl the URL that the browser was sent to, as the issuer knows it
   * @param needsIssuer whether the answer must say who gives it (RFC 9207): where another issuer could stand in for this one
   */
  async finish(
    currentUrl: URL,
    pending: { state: string; nonce: string; verifier: string },
    needsIssuer: boolean
  ): Promise<SignedIn> {
    const configuration = await this.#configuration()
    if (needsIssuer && !currentUrl.searchParams.has('iss')) throw new SignInRefused('iss is missing')
    return explained(async () => {
      const tokens = await openid.authorizationCodeGrant(configuration, currentUrl, {
        expectedState: pending.state,
        expectedNonce: pending.nonce,
        pkceCodeVerifier: pending.verifier,
        idTokenExpected: true
      })
      return this.#signedIn(configuration, tokens, null)
    })
  }

  /** New tokens and claims of `subject`. Rejects with `SignInRefused` when the issuer has ended the grant. */
  async refresh(refreshToken: string, subject: string): Promise<SignedIn> {
    const configuration = await this.#configuration()
    return explained(async () => {
      const tokens = await openid.refreshTokenGrant(configuration, refreshToken)
      return this.#signedIn(configuration, tokens, subject)
    })
  }

  /** Where to sign out at the issuer; null when it has no such page or does not answer. */
  async endSessionUrl(idToken: string, returnTo: string): Promise<string | null> {
    const configuration = await this.#configuration().catch(() => null)
    const endpoint = configuration?.serverMetadata().end_session_endpoint
    if (configuration === null || endpoint === undefined || !isTrustworthyUrl(endpoint)) return null
    const parameters = { id_token_hint: idToken, post_logout_redirect_uri: returnTo }
    return openid.buildEndSessionUrl(configuration, parameters).href
  }

  async #signedIn(
    configuration: openid.Configuration,
    tokens: openid.TokenEndpointResponse & openid.TokenEndpointResponseHelpers,
    expectedSubject: string | null
  ): Promise<SignedIn> {
    const idClaims = tokens.claims()
    const subject = idClaims?.sub ?? expectedSubject
    // OpenID Connect Core, 12.2: it is the same person still.
    if (subject === null || (expectedSubject !== null && subject !== expectedSubject))
      throw new SignInRefused('sub is another one')
    const userInfo = await this.#userInfo(
      configuration,
      tokens.access_token,
      subject,
      expectedSubject !== null
    )
    const lifetime = tokens.expiresIn()
    return {
      subject,
      sid: typeof idClaims?.sid === 'string' ? idClaims.sid : null,
      claims: idClaims === undefined ? null : { ...idClaims },
      userInfo: userInfo === undefined ? null : { ...userInfo },
      scope: tokens.scope ?? null,
      idToken: tokens.id_token ?? null,
      refreshToken: tokens.refresh_token ?? null,
      expiresAt: lifetime === undefined ? null : Date.now() + lifetime * 1000
    }
  }

  async #userInfo(
    configuration: openid.Configuration,
    accessToken: string,
    subject: string,
    isRefresh: boolean
  ): Promise<openid.UserInfoResponse | undefined> {
    if (configuration.serverMetadata().userinfo_endpoint === undefined) return undefined
    try {
      return await openid.fetchUserInfo(configuration, accessToken, subject)
    } catch (error) {
      // The refresh token before this one is spent: the new one must not be lost for claims that are known still.
      if (isRefresh && isOutage(error)) return undefined
      throw error
    }
  }

  #configuration(): Promise<openid.Configuration> {
    if (this.#known !== null && Date.now() < this.#known.until)
      return Promise.resolve(this.#known.configuration)
    if (this.#flight !== null) return this.#flight
    if (Date.now() < this.#retryAt) {
      // Old metadata are better than none.
      if (this.#known !== null) return Promise.resolve(this.#known.configuration)
      return Promise.reject(new IssuerUnavailable(`${this.settings.issuer} did not answer just now`))
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
      throw new IssuerUnavailable(`the metadata of ${this.settings.issuer} cannot be read`, { cause: error })
    }
  }

  async #ask(): Promise<openid.Configuration> {
    const { issuer, clientId, algorithms } = this.settings
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
      { [openid.clockTolerance]: Math.round(this.settings.clockTolerance / 1000) },
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
    const { clientSecret } = this.settings
    if (clientSecret === null) return openid.None()
    const methods = token_endpoint_auth_methods_supported ?? ['client_secret_basic']
    const isPost = !methods.includes('client_secret_basic') && methods.includes('client_secret_post')
    return isPost ? openid.ClientSecretPost(clientSecret) : openid.ClientSecretBasic(clientSecret)
  }
}

/** Codes of the library for an issuer that cannot be reached or does not speak the protocol. */
const outages: ReadonlySet<unknown> = new Set([
  'OAUTH_TIMEOUT',
  'OAUTH_ABORT',
  'OAUTH_RESPONSE_IS_NOT_CONFORM',
  'OAUTH_RESPONSE_IS_NOT_JSON',
  'OAUTH_PARSE_ERROR'
])

async function explained(ask: () => Promise<SignedIn>): Promise<SignedIn> {
  try {
    return await ask()
  } catch (error) {
    if (error instanceof SignInRefused) throw error
    const { code } = error as { code?: unknown }
    // Not its message: that may hold text of the issuer.
    const what = typeof code === 'string' ? code : (error as Error).name
    if (isOutage(error)) throw new IssuerUnavailable(what, { cause: error })
    throw new SignInRefused(what, { cause: error })
  }
}

function isOutage(error: unknown): boolean {
  if (error instanceof openid.ResponseBodyError) return error.error !== 'invalid_grant'
  if (error instanceof TypeError || error instanceof openid.WWWAuthenticateChallengeError) return true
  return outages.has((error as { code?: unknown }).code)
}

/** Logs a failure that has a cause: without one it is of strangers, or known already, and the line of the request says it. */
export function logFailure(
  log: Logger,
  failure: Error,
  about: Record<string, string>,
  message: string
): void {
  if (failure.cause !== undefined) log.warn({ ...about, failure: describeFailure(failure) }, message)
}

/**
 * What a log may hold of a failure: names, codes and what OAuth calls the error, from the outside in. Not whole errors: those of the
 * library carry answers of the issuer, tokens and all.
 */
export function describeFailure(error: unknown): string {
  const parts: string[] = []
  for (let at = error; at instanceof Error && parts.length < 6; at = at.cause) {
    const { code, error: said } = at as { code?: unknown; error?: unknown }
    const isOurs = at instanceof SignInRefused || at instanceof IssuerUnavailable
    const more = [code, said, isOurs ? at.message : undefined].filter(one => typeof one === 'string')
    parts.push([at.name, ...more].join(' '))
  }
  return parts.join(' < ').slice(0, 500)
}
