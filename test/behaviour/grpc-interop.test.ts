import { Metadata } from '@grpc/grpc-js'
import t, { type Test } from 'tap'
import { makeCertificates } from '../fixtures/grpc/certificates.ts'
import { type Door, interopClients } from '../fixtures/grpc/door.ts'
import { bareDoor, grpcGateway, openRoute, quiet } from '../fixtures/grpc/gateway.ts'
import { goClient, goServer } from '../fixtures/grpc/go.ts'
import { endsAtTheClient, interopCases } from '../fixtures/grpc/interop-cases.ts'
import { interopServer } from '../fixtures/grpc/interop-server.ts'
import { localIssuer } from '../fixtures/issuer.ts'
import { skipWithout } from '../fixtures/tool.ts'

t.test('the cases hold between the clients and the servers themselves', async t => {
  const nodePort = await interopServer(t)
  const goPort = await goServer(t)
  await caseByCase(t, { name: 'grpc-js', port: nodePort, tls: null })
  if (goPort === null) return skipWithout(t, 'grpc-interop-server')
  await caseByCase(t, { name: 'Go', port: goPort, tls: null })
  await caseByCaseInGo(t, { name: 'Go', port: goPort, tls: null })
  await caseByCaseInGo(t, { name: 'grpc-js', port: nodePort, tls: null })
})

t.test('the cases hold through the bare bridge that the benchmark compares with', async t => {
  const goPort = await goServer(t)
  if (goPort === null) return skipWithout(t, 'grpc-interop-server')
  const door = await bareDoor(t, goPort)
  await caseByCase(t, door)
  await caseByCaseInGo(t, door)
})

t.test('the cases hold through the gateway, with a token and without one', async t => {
  const nodePort = await interopServer(t)
  const goPort = await goServer(t)
  const tls = await makeCertificates(t)
  const issuer = await localIssuer(t)
  const token = await issuer.sign()

  const nodeServer = `http://127.0.0.1:${nodePort}`
  const open = await grpcGateway(t, openRoute(nodeServer), tls)
  await caseByCase(t, { ...open.h2c, name: `${open.h2c.name}, and grpc-js` })
  await quiet(open, 'open')
  if (goPort === null) return skipWithout(t, 'grpc-interop-server')

  const goServerUrl = `http://127.0.0.1:${goPort}`
  const gateways = {
    'a public route': {
      gateway: await grpcGateway(t, openRoute(goServerUrl), tls),
      token: undefined,
      route: 'open'
    },
    'a route with a token': {
      gateway: await grpcGateway(t, jwtRoute(goServerUrl, issuer.url), tls),
      token,
      route: 'jwt'
    }
  }
  for (const [kind, { gateway, token, route }] of Object.entries(gateways)) {
    for (const door of [gateway.h2c, gateway.https]) {
      const named = { ...door, name: `${door.name}, ${kind}, and Go` }
      await caseByCase(t, named, token)
      await caseByCaseInGo(t, named, token)
      await quiet(gateway, route)
    }
  }
})

t.test('without a token every case is refused with 16, with one that is not enough with 7', async t => {
  const port = await interopServer(t)
  const tls = await makeCertificates(t)
  const issuer = await localIssuer(t)
  const gateway = await grpcGateway(t, jwtRoute(`http://127.0.0.1:${port}`, issuer.url), tls)
  const weak = await issuer.sign({ scope: 'orders:read' })
  const rows: [token: string | undefined, status: number, name: string][] = [
    [undefined, 16, 'Unauthenticated'],
    [weak, 7, 'PermissionDenied']
  ]
  for (const [token, status, name] of rows) {
    for (const door of [gateway.h2c, gateway.https]) {
      const clients = interopClients(t, door)
      for (const [testCase, run] of Object.entries(interopCases)) {
        if (endsAtTheClient.has(testCase)) continue
        await t.rejects(
          run({ ...clients, metadata: bearer(token) }),
          { code: status },
          `grpc-js ${testCase} ${status}`
        )
        const ca = door.tls?.caFile ?? null
        const result = await goClient({ port: door.port, testCase, ca, metadata: pairs(token) })
        if (result === null) return skipWithout(t, 'grpc-interop-client')
        t.equal(result.code, 1, `Go ${testCase}`)
        // A client that is still sending hears of the end of its stream first, and stops there.
        t.match(result.output, new RegExp(`${name}|has error EOF while sending`))
      }
    }
  }
  await quiet(gateway, 'jwt')
})

function jwtRoute(url: string, issuer: string): string {
  return `issuers: { corp: { issuer: "${issuer}", audience: [orders-api], algorithms: [ES256] } }
upstreams:
  calls: { url: "${url}", protocol: h2c }
routes:
  jwt:
    match: { protocol: grpc }
    upstream: calls
    plugins: [{ jwt: { issuer: corp } }, { authorize: { scopes: ["orders:write"] } }]
`
}

function bearer(token: string | undefined): () => Metadata {
  return () => {
    const metadata = new Metadata()
    for (const [key, value] of Object.entries(pairs(token))) metadata.set(key, value)
    return metadata
  }
}

function pairs(token: string | undefined): Record<string, string> {
  return token === undefined ? {} : { authorization: `Bearer ${token}` }
}

function caseByCase(t: Test, door: Door, token?: string) {
  return t.test(`grpc-js to ${door.name}`, async t => {
    const clients = interopClients(t, door)
    for (const [name, run] of Object.entries(interopCases)) {
      await t.resolves(run({ ...clients, metadata: bearer(token) }), name)
    }
  })
}

function caseByCaseInGo(t: Test, { name, port, tls }: Door, token?: string) {
  return t.test(`Go to ${name}`, async t => {
    for (const testCase of Object.keys(interopCases)) {
      const result = await goClient({ port, testCase, ca: tls?.caFile ?? null, metadata: pairs(token) })
      if (result === null) return skipWithout(t, 'grpc-interop-client')
      t.equal(result.code, 0, `${testCase} ${result.output}`)
    }
  })
}
