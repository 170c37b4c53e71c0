import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { runReach } from '../../../src/perimeter/reach.ts'
import { runVerify, type VerifyArgs } from '../../../src/perimeter/verify.ts'
import { pod, policy, text } from './cluster.ts'

/** Golden pairs: a folder holds `gateway.yaml` and `manifests/`, and what the commands say about them. UPDATE_GOLDEN=1 writes anew. */
const golden = 'test/golden/perimeter'

function matchGolden(t: Tap, path: string, found: string): void {
  if (process.env.UPDATE_GOLDEN === '1') writeFileSync(path, found)
  if (!existsSync(path)) t.fail(`${path} is missing: run with UPDATE_GOLDEN=1 and read it`)
  else t.equal(found, readFileSync(path, 'utf8'), path)
}

type Tap = Pick<typeof t, 'equal' | 'fail'>

for (const name of readdirSync(golden)) {
  const folder = join(golden, name)
  const args: VerifyArgs = { config: join(folder, 'gateway.yaml'), manifests: [join(folder, 'manifests')] }
  t.test(`verify of ${name} reads as it did`, async t => {
    const { exitCode, output } = await runVerify(args)
    matchGolden(t, join(folder, 'verify.txt'), `exit code ${exitCode}\n${output}`)
    matchGolden(t, join(folder, 'verify.json'), (await runVerify({ ...args, format: 'json' })).output)
    matchGolden(t, join(folder, 'verify.html'), (await runVerify({ ...args, format: 'html' })).output)
  })
  t.test(`reach of ${name} reads as it did`, async t => {
    matchGolden(t, join(folder, 'reach.txt'), (await runReach({ manifests: args.manifests })).output)
  })
}

const manifests = [`${golden}/textbook/manifests`]
const config = `${golden}/textbook/gateway.yaml`

t.test('the JSON of verify has the keys that are promised', async t => {
  const { output } = await runVerify({ config, manifests: [`${golden}/mistakes/manifests`], format: 'json' })
  const proof = JSON.parse(output)
  t.strictSame(Object.keys(proof), ['verdict', 'upstreams', 'findings', 'assumptions'])
  const upstream = proof.upstreams.find(
    (each: { counterexamples: unknown[] }) => each.counterexamples.length > 0
  )
  t.strictSame(Object.keys(upstream), ['name', 'verdict', 'counterexamples', 'findings'])
  const keys = ['from', 'to', 'port', 'protocol', 'policy', 'rule', 'at', 'why']
  t.strictSame(Object.keys(upstream.counterexamples[0]), keys)
  t.match(upstream.counterexamples[0].from, { namespace: String, labels: {} })
  t.strictSame(Object.keys(proof.findings[0]), ['code', 'text', 'at'])
  t.strictSame(
    proof.assumptions.map((each: { id: string }) => each.id),
    ['A1', 'A2', 'A3', 'A4', 'A5', 'A6', 'A7', 'A8', 'A9']
  )
})

t.test('a configuration that is parsed already is as good as its file', async t => {
  const view = {
    upstreams: { orders: { kubernetes: { namespace: 'shop', podSelector: { app: 'orders' }, port: 8080 } } }
  }
  const { exitCode, output } = await runVerify({ config: view, manifests })
  t.equal(exitCode, 1, 'the gateway may call two upstreams that this one does not know')
  t.match(output, /gateway-egress-open/)
})

t.test('a configuration without pods to protect proves nothing', async t => {
  const { exitCode, output } = await runVerify({
    config: { upstreams: { far: { url: 'https://example.com' } } },
    manifests
  })
  t.equal(exitCode, 1)
  t.match(output, /nothing-to-prove/)
  t.match(output, /outside-cluster/)
})

t.test('the report goes to a file when one is named', async t => {
  const output = join(t.testdir({}), 'proof.html')
  const result = await runVerify({ config, manifests, format: 'html', output })
  t.strictSame(result, { exitCode: 0, output: 'PROVEN: the gateway is the only way to every upstream\n' })
  t.match(readFileSync(output, 'utf8'), /^<!doctype html>/)
})

t.test('without the gateway its labels must be given, and must be labels', async t => {
  const stdin = (): string => text([pod('shop', 'orders', { app: 'orders' })])
  const args: VerifyArgs = { config, manifests: ['-'], stdin }
  t.match(await runVerify(args), { exitCode: 3, output: /--gateway NAMESPACE\/key=value/ })
  t.match(await runVerify({ ...args, gateway: 'gateway' }), {
    exitCode: 3,
    output: /must be NAMESPACE\/key=value/
  })
  t.match(await runVerify({ ...args, gateway: 'gateway/app=sallyport' }), { exitCode: 1 })
})

t.test('two gateways are one too many', async t => {
  const deployment = (namespace: string): Record<string, unknown> => ({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { namespace, name: 'g', labels: { 'app.kubernetes.io/name': 'sallyport' } },
    spec: { selector: { matchLabels: { a: 'b' } }, template: { metadata: { labels: { a: 'b' } } } }
  })
  const stdin = (): string => text([deployment('one'), deployment('two')])
  t.match(await runVerify({ config, manifests: ['-'], stdin }), {
    exitCode: 3,
    output: /several Deployments.*one\/g.*two\/g/s
  })
  const twice = (): string => text([deployment('one'), deployment('one')])
  t.not(
    (await runVerify({ config, manifests: ['-'], stdin: twice })).exitCode,
    3,
    'as rendered, and as it runs'
  )
})

t.test('a broken annotation is bad input', async t => {
  const perimeter = '{ "protect": { "namespaces": { "shop": { "allow": [ { "port": "x" } ] } } } }'
  t.match(await runVerify({ config, manifests, perimeter }), {
    exitCode: 3,
    output: /allow\[0\]\.port {2}must be a whole number/
  })
})

t.test('the page shows hostile names as text', async t => {
  const view = {
    upstreams: {
      '<img src=x onerror=alert(1)>': {
        kubernetes: { namespace: 'shop', podSelector: { app: 'orders' }, port: 8080 }
      }
    }
  }
  const { output } = await runVerify({ config: view, manifests, format: 'html' })
  t.notMatch(output, /<img/)
  t.match(output, /&#60;img src=x/)
  t.notMatch(output, /<script|https?:\/\//, 'and needs nothing from elsewhere')
})

t.test('reach answers for one connection, with the rule at each end', async t => {
  const ask = { manifests, from: 'frontend/web', to: 'shop/orders', port: 8080 }
  t.match(await runReach(ask), { exitCode: 0, output: /^allowed: .*shop\/web-to-orders {2}ingress\[0\]/s })
  const { exitCode, output } = await runReach({ ...ask, port: 50051, format: 'json' })
  t.equal(exitCode, 1)
  const answer = JSON.parse(output)
  t.strictSame(Object.keys(answer), ['verdict', 'egress', 'ingress', 'why'])
  t.strictSame(answer.egress, { verdict: 'allowed', policies: [] })
  t.match(answer.ingress, {
    verdict: 'denied',
    policies: [{ policy: 'shop/default-deny', rule: null, at: /:\d+:\d+$/ }, {}, {}]
  })
})

t.test('reach takes addresses, labels of pods to come, and kinds', async t => {
  const ask = { manifests, to: 'shop/orders', port: 8080 }
  t.equal((await runReach({ ...ask, from: '203.0.113.7' })).exitCode, 1)
  t.equal((await runReach({ ...ask, from: 'frontend/app=web,extra=1' })).exitCode, 0)
  t.equal((await runReach({ ...ask, from: 'frontend/deployment/web' })).exitCode, 0)
  t.equal((await runReach({ ...ask, from: 'new/app=web' })).exitCode, 1)
})

t.test('reach says depends where it does', async t => {
  const stdin = (): string =>
    text([
      pod('x', 'a'),
      pod('x', 'b'),
      policy('x', 'p', { ingress: [{ from: [{ ipBlock: { cidr: '10.0.0.0/8' } }] }] })
    ])
  const result = await runReach({ manifests: ['-'], stdin, from: 'x/a', to: 'x/b', port: 80 })
  t.match(result, { exitCode: 2, output: /^cni-dependent: .*depending on the CNI/s })
})

t.test('reach knows the address of a pod and that of a Service', async t => {
  const service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace: 'x', name: 's' },
    spec: { clusterIP: '10.96.0.1', ports: [{ port: 80 }] }
  }
  const stdin = (): string =>
    text([
      pod('x', 'a'),
      { ...pod('x', 'b'), status: { podIP: '10.1.0.2' } },
      service,
      policy('x', 'p', { egress: [{ to: [{ ipBlock: { cidr: '10.96.0.0/16' } }] }], policyTypes: ['Egress'] })
    ])
  const ask = { manifests: ['-'], stdin, from: 'x/a', port: 80 }
  t.match(await runReach({ ...ask, to: '10.1.0.2' }), { exitCode: 1, output: /x\/b: no policy isolates it/ })
  t.match(await runReach({ ...ask, to: '10.96.0.1' }), { exitCode: 2, output: /S23/ })
})

const wrong: [string, Parameters<typeof runReach>[0], RegExp][] = [
  [
    'no such pod',
    { manifests, from: 'shop/nobody', to: 'shop/orders', port: 80 },
    /no pod or workload "nobody"/
  ],
  ['no namespace', { manifests, from: 'orders', to: 'shop/orders', port: 80 }, /must be NAMESPACE\/POD/],
  ['no port', { manifests, from: 'shop/db', to: 'shop/orders' }, /--port must be between/],
  ['half a question', { manifests, from: 'shop/db', port: 80 }, /belong together/],
  ['broken labels', { manifests, from: 'shop/a=b=c', to: 'shop/orders', port: 80 }, /no list of key=value/],
  ['no manifests', { manifests: ['/nowhere'] }, /cannot be read/]
]
for (const [what, args, says] of wrong) {
  t.test(`reach: ${what} is bad input`, async t => {
    t.match(await runReach(args), { exitCode: 3, output: says })
  })
}
