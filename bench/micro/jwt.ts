/**
 * What one token costs: `node bench/micro/jwt.ts`. Prints microseconds per verification, best of five rounds.
 * Targets: a token that was seen before under 2 us, a new one with RS256 under 60 us.
 */
import fastifyJwt from '@fastify/jwt'
import Fastify from 'fastify'
import { SignJWT } from 'jose'
import { pino } from 'pino'
import { IssuerRegistry } from '../../src/issuer/keys.ts'
import { goodClaims, localIssuer, makeKey } from '../../test/fixtures/issuer.ts'

const ends: (() => unknown)[] = []
const issuer = await localIssuer({ teardown: callback => ends.push(callback) })
issuer.keys = [makeKey('RS256', 'rsa'), makeKey('ES256', 'ec')]
const metrics = { fetches() {}, age() {} }
const registry = new IssuerRegistry({ log: pino({ level: 'silent' }), metrics })
const verifier = registry.get('bench', issuer.settings())

const extra = {
  groups: ['a', 'b', 'c'],
  realm_access: { roles: ['x', 'y'] },
  email: 'alice@example.com',
  name: 'Alice'
}

async function makeTokens(key: number, count: number): Promise<string[]> {
  const tokens: string[] = []
  for (let n = 0; n < count; n++)
    tokens.push(await issuer.sign({ ...extra, jti: String(n) }, {}, issuer.keys[key]))
  return tokens
}

function measure(
  name: string,
  tokens: readonly string[],
  repeat: number,
  verify: (token: string) => unknown
): void {
  let best = Number.POSITIVE_INFINITY
  for (let round = 0; round < 5; round++) {
    const start = performance.now()
    for (let n = 0; n < repeat; n++) for (const token of tokens) verify(token)
    best = Math.min(best, ((performance.now() - start) * 1000) / (tokens.length * repeat))
  }
  console.log(`${name.padEnd(60)} ${best.toFixed(2).padStart(8)} us`)
}

/** As a header arrives: a new string each time, whose hash is not known yet. */
function asHeader(token: string): string {
  return `Bearer ${token}`
}

const seen = await makeTokens(0, 1000)
await verifier.verify(seen[0]!)
measure('seen before, 1000 tokens in turn', seen, 200, token => verifier.verify(token))
measure('seen before, from a new header string', seen, 200, token =>
  verifier.verify(Buffer.from(asHeader(token), 'latin1').toString('latin1').slice(7))
)
measure('  of which making the header string', seen, 200, token =>
  Buffer.from(asHeader(token), 'latin1').toString('latin1').slice(7)
)

// More tokens than the cache holds, in turn: each one is new.
const count = 10_500
const fresh = await makeTokens(0, count)
measure('new, RS256', fresh, 1, token => verifier.verify(token))
const pem = issuer.keys[0]!.publicKey.export({ type: 'spki', format: 'pem' })

async function plainVerifier(cache: number | false): Promise<(token: string) => unknown> {
  const app = Fastify()
  await app.register(fastifyJwt, { secret: { public: pem }, verify: { algorithms: ['RS256'], cache } })
  await app.ready()
  return token => app.jwt.verify(token)
}

const bare = await plainVerifier(false)
measure('  of which @fastify/jwt alone', fresh.slice(0, 2000), 1, token => bare(token))
measure('new, ES256', await makeTokens(1, count), 1, token => verifier.verify(token))

const cached = await plainVerifier(10_000)
measure('for comparison: the cache of @fastify/jwt, seen before', seen, 20, token => cached(token))

function refused(token: string): void {
  try {
    void verifier.verify(token)
  } catch {
    return
  }
  throw new Error('should have been refused')
}
measure('refused: 1 MiB', ['x'.repeat(1024 * 1024)], 1000, refused)
measure('refused: bad signature, RS256', [`${seen[0]!.slice(0, -8)}AAAAAAAA`], 1000, refused)
const secret = new TextEncoder().encode('a shared secret of thirty-two bytes')
const hs = await new SignJWT(goodClaims(issuer)).setProtectedHeader({ alg: 'HS256' }).sign(secret)
measure('refused: HS256', [hs], 1000, refused)

registry.close()
for (const end of ends) end()
