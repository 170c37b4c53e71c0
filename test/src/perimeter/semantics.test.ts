import t from 'tap'
import { answer, type Manifest, policy, problemsOf, proofOf, worldOf } from './cluster.ts'
import { base, cases, from, on, onB } from './semantics-cases.ts'

for (const { row, says, cluster, from: source, to, port = 80, protocol, expect } of cases) {
  t.test(`${row}: ${says}`, async t => {
    const found = answer(worldOf(...base, ...cluster), source, to, port, protocol)
    t.equal(found.verdict, expect, found.why)
  })
}

t.test('S18: only TCP, UDP and SCTP can be asked about', async t => {
  t.match(problemsOf(on({ port: 1, protocol: 'ICMP' })), [/must be TCP, UDP or SCTP/])
})

t.test("S23: the port is the pod's, so a rule for the Service's port does not let anybody in", async t => {
  const service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace: 'x', name: 'b' },
    spec: { selector: { app: 'b' }, ports: [{ port: 8000, targetPort: 80 }] }
  }
  const world = worldOf(...base, service, on({ port: 8000 }))
  t.equal(answer(world, 'x/a', 'x/b', 80).verdict, 'denied')
})

const refused: { row: 'S14' | 'S18' | 'S28'; spec: Manifest; says: RegExp }[] = [
  { row: 'S28', spec: { ingress: [{ ports: [{ port: 0 }] }] }, says: /between 1 and 65535/ },
  { row: 'S28', spec: { ingress: [{ ports: [{ port: 65536 }] }] }, says: /between 1 and 65535/ },
  { row: 'S28', spec: { ingress: [{ ports: [{ port: '80' }] }] }, says: /not the name of a port/ },
  {
    row: 'S28',
    spec: { ingress: [{ ports: [{ port: 'a-name-too-long-for-a-port' }] }] },
    says: /not the name of a port/
  },
  { row: 'S28', spec: { ingress: [{ ports: [{ endPort: 90 }] }] }, says: /needs a numeric port/ },
  {
    row: 'S28',
    spec: { ingress: [{ ports: [{ port: 'web', endPort: 90 }] }] },
    says: /needs a numeric port/
  },
  { row: 'S28', spec: { ingress: [{ ports: [{ port: 91, endPort: 90 }] }] }, says: /not be smaller/ },
  { row: 'S28', spec: { ingress: [{ from: [{}] }] }, says: /must specify a peer/ },
  {
    row: 'S28',
    spec: { ingress: [{ from: [{ ipBlock: { cidr: '10.0.0.0/8' }, podSelector: {} }] }] },
    says: /excludes/
  },
  {
    row: 'S14',
    spec: { ingress: [{ from: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['10.0.0.0/8'] } }] }] },
    says: /strict subset/
  },
  {
    row: 'S14',
    spec: { ingress: [{ from: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['11.0.0.0/16'] } }] }] },
    says: /strict subset/
  },
  { row: 'S28', spec: { ingress: [{ from: [{ ipBlock: { cidr: '10.0.0.0' } }] }] }, says: /not a CIDR/ },
  { row: 'S28', spec: { policyTypes: ['Ingress', 'Egress', 'Ingress'] }, says: /more than two/ },
  { row: 'S28', spec: { policyTypes: ['Both'] }, says: /Ingress or Egress/ },
  { row: 'S28', spec: { ingress: [{ ports: [{ protocol: 'tcp' }] }] }, says: /TCP, UDP or SCTP/ },
  {
    row: 'S28',
    spec: { podSelector: { matchExpressions: [{ key: 'a', operator: 'In' }] } },
    says: /needs values/
  },
  {
    row: 'S28',
    spec: { podSelector: { matchExpressions: [{ key: 'a', operator: 'Exists', values: ['b'] }] } },
    says: /must not have values/
  },
  {
    row: 'S28',
    spec: { podSelector: { matchExpressions: [{ key: 'a', operator: 'Is' }] } },
    says: /In, NotIn/
  },
  { row: 'S28', spec: { podSelector: { matchLabels: { 'a b': 'c' } } }, says: /not a label key/ },
  { row: 'S28', spec: { ingress: [{ from: [{ podselector: {} }] }] }, says: /unknown field/ }
]

for (const { row, spec, says } of refused) {
  t.test(`${row}: the API refuses ${JSON.stringify(spec)}`, async t => {
    const problems = problemsOf(policy('x', 'p', spec))
    t.ok(
      problems.some(each => says.test(each) && /^test\.yaml:\d+:\d+ {2}/.test(each)),
      problems.join('\n')
    )
  })
}

for (const spec of [{ type: 'NodePort' }, { type: 'LoadBalancer' }, { externalIPs: ['198.51.100.7'] }]) {
  t.test(
    `S24: behind ${JSON.stringify(spec)} a node may stand in for the client, so nothing is proven`,
    async t => {
      const service = (more: Manifest): Manifest => ({
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { namespace: 'x', name: 'b' },
        spec: { selector: { app: 'b' }, ports: [{ port: 80 }], ...more }
      })
      const only = from({
        namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'y' } },
        podSelector: { matchLabels: { app: 'c' } }
      })
      const rule = { ...only, spec: { ...onB, ingress: [{ ...firstRule(only), ports: [{ port: 80 }] }] } }
      const verify = (more: Manifest): ReturnType<typeof proofOf> =>
        proofOf([...base, rule, service(more)], 'y/app=c', {
          namespace: 'x',
          podSelector: { app: 'b' },
          port: 80
        })
      t.equal(verify({}).upstreams[0]?.verdict, 'proven')
      t.equal(verify(spec).upstreams[0]?.verdict, 'not-proven')
      t.ok(verify(spec).upstreams[0]?.findings.some(each => each.code === 'service-exposed'))
    }
  )
}

function firstRule(manifest: Manifest): Manifest {
  return (manifest.spec as { ingress: Manifest[] }).ingress[0] ?? {}
}

t.test('every row from S1 to S28 is cited here', async t => {
  const cited = new Set<string>([...cases, ...refused].map(each => each.row))
  for (const row of ['S18', 'S23', 'S24']) cited.add(row)
  for (let n = 1; n <= 28; n++) t.ok(cited.has(`S${n}`), `S${n}`)
})
