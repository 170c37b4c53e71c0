// A service that answers nobody but the gateway. Runs with `npm install jose`, then: GATEWAY=… UPSTREAM=… node server.mjs
import { createServer } from 'node:http'
import process from 'node:process'
import { createRemoteJWKSet, jwtVerify } from 'jose'

const { GATEWAY, UPSTREAM, JWKS = `${GATEWAY}/.well-known/sallyport/jwks.json`, PORT = '8000' } = process.env
// Without these two jose would check neither who has signed nor for whom.
if (!GATEWAY || !UPSTREAM) throw new Error('set GATEWAY and UPSTREAM')

// Fetched once and kept; asked again for a key that is not known, at most every 30 s.
const keys = createRemoteJWKSet(new URL(JWKS))
const rules = {
  issuer: GATEWAY,
  audience: UPSTREAM,
  algorithms: ['ES256'],
  requiredClaims: ['sub', 'exp'],
  clockTolerance: 5
}

const server = createServer(async (request, response) => {
  try {
    const { payload } = await jwtVerify(request.headers['x-sallyport-identity'] ?? '', keys, rules)
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ caller: payload.sub, groups: payload.groups ?? [] }))
  } catch {
    // Not through the gateway, or not for this service: nothing is said about why.
    response.writeHead(401).end()
  }
})

server.listen(Number(PORT), '127.0.0.1', () => console.log(`listening on ${server.address().port}`))
