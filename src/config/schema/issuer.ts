import { Type } from 'typebox'
import { choice, duration, durationOrZero, object, secret, text, texts } from '../shapes.ts'

const signingAlgorithms = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA'
] as const

export const issuer = object(
  {
    issuer: text('The issuer identifier: `iss` of its tokens, byte for byte. https, or http on loopback.'),
    audience: texts('Audiences that are accepted: a token must name one of them in `aud`.', { minItems: 1 }),
    algorithms: Type.Array(
      choice(signingAlgorithms, 'Signature algorithm.', {
        'x-remedy': `write asymmetric ones: ${signingAlgorithms.join(', ')}`
      }),
      {
        minItems: 1,
        uniqueItems: true,
        default: ['RS256', 'ES256'],
        description: 'Signature algorithms that are accepted. Symmetric ones and `none` never are.'
      }
    ),
    jwks: object(
      {
        url: Type.Optional(text('Where the keys are. Found by discovery when left out.')),
        refresh: duration('How often the keys are fetched in the background.', { default: '10m' }),
        cooldown: duration('Shortest time between two fetches that an unknown key id causes.', {
          default: '30s'
        }),
        staleIfError: durationOrZero('How long known keys are used while the issuer cannot be reached.', {
          default: '24h'
        })
      },
      { default: {}, description: 'The keys of the issuer.' }
    ),
    clockTolerance: durationOrZero('How far the clocks may differ when `exp`, `nbf` and `iat` are judged.', {
      default: '30s'
    }),
    claims: object(
      {
        scopes: text('Claim with the scopes; a dotted path reaches into objects.', { default: 'scope' }),
        groups: text('Claim with the groups.', { default: 'groups' }),
        roles: text('Claim with the roles, e.g. `realm_access.roles`.', { default: 'roles' }),
        email: text('Claim with the email address.', { default: 'email' })
      },
      { default: {}, description: 'Which claims become the identity.' }
    ),
    client: Type.Optional(
      object(
        {
          id: text('Client id of the gateway at the issuer.'),
          secret: Type.Optional(secret('Client secret of the gateway at the issuer.')),
          scopes: texts('Scopes that sign-in asks for.', {
            default: ['openid', 'profile', 'email'],
            uniqueItems: true
          })
        },
        { description: 'The gateway as a client of the issuer; only for sign-in and introspection.' }
      )
    )
  },
  { description: 'An identity provider that the gateway trusts.' }
)
