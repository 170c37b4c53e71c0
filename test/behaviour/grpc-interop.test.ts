import { Metadata } from '@grpc/grpc-js'
import t, { type Test } from 'tap'
import { type Door, interopClients } from '../fixtures/grpc/door.ts'
import { goClient, goServer } from '../fixtures/grpc/go.ts'
import { interopCases } from '../fixtures/grpc/interop-cases.ts'
import { interopServer } from '../fixtures/grpc/interop-server.ts'
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

function caseByCase(t: Test, door: Door, token?: string) {
  return t.test(`grpc-js to ${door.name}`, async t => {
    const clients = interopClients(t, door)
    const metadata = () => {
      const made = new Metadata()
      if (token !== undefined) made.set('authorization', `Bearer ${token}`)
      return made
    }
    for (const [name, run] of Object.entries(interopCases)) {
      await t.resolves(run({ ...clients, metadata }), name)
    }
  })
}

function caseByCaseInGo(t: Test, { name, port, tls }: Door, token?: string) {
  return t.test(`Go to ${name}`, async t => {
    const metadata: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` }
    for (const testCase of Object.keys(interopCases)) {
      const result = await goClient({ port, testCase, ca: tls?.caFile ?? null, metadata })
      if (result === null) return skipWithout(t, 'grpc-interop-client')
      t.equal(result.code, 0, `${testCase} ${result.output}`)
    }
  })
}
