import * as openid from 'openid-client'
import { isTrustworthyUrl } from '../issuer/discovery.ts'
import { IssuerUnavailable, SignInRefused } from './issuer-failure.ts'
import { type OidcClientSettings, OidcConfiguration } from './oidc-configuration.ts'

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

/** OpenID Connect with one issuer. */
export class OidcClient {
  readonly settings: OidcClientSettings
  readonly #configuration: OidcConfiguration

  constructor(settings: OidcClientSettings) {
    this.settings = settings
    this.#configuration = new OidcConfiguration(settings)
  }

  /** Whether its answers say who gives them (RFC 9207). Rejects with `IssuerUnavailable`. */
  async saysIssuer(): Promise<boolean> {
    const configuration = await this.#configuration.get()
    return configuration.serverMetadata().authorization_response_iss_parameter_supported === true
  }

  /** A request for a sign-in that comes back to `redirectUri`. Rejects with `IssuerUnavailable`. */
  async begin(redirectUri: string): Promise<AuthorizationRequest> {
    const configuration = await this.#configuration.get()
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
    const configuration = await this.#configuration.get()
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
    const configuration = await this.#configuration.get()
    return explained(async () => {
      const tokens = await openid.refreshTokenGrant(configuration, refreshToken)
      return this.#signedIn(configuration, tokens, subject)
    })
  }

  /**
   * Gives a refresh token back that would outlive the sign-out: an issuer ends the others with its own session (OpenID Connect
   * Core, 11). Does nothing where it takes none back (RFC 7009). Rejects when it does not answer, or not as it should.
   */
  async revoke(refreshToken: string): Promise<void> {
    if (!this.settings.scopes.includes('offline_access')) return
    const configuration = await this.#configuration.get()
    const endpoint = configuration.serverMetadata().revocation_endpoint
    if (endpoint === undefined || !isTrustworthyUrl(endpoint)) return
    await openid.tokenRevocation(configuration, refreshToken, { token_type_hint: 'refresh_token' })
  }

  /** Where to sign out at the issuer; null when it has no such page or does not answer. */
  async endSessionUrl(idToken: string, returnTo: string): Promise<string | null> {
    const configuration = await this.#configuration.get().catch(() => null)
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
