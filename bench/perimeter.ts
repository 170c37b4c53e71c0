import { findGateway } from '../src/perimeter/gateway.ts'
import { readManifests } from '../src/perimeter/manifests.ts'
import { buildCase, prove } from '../src/perimeter/prove.ts'
import { type UpstreamsView, upstreamsOf } from '../src/perimeter/upstreams.ts'

/**
 * How long `sallyport verify` takes as the cluster grows: reading included, output not. `node bench/perimeter.ts` prints a table for
 * docs/benchmarks.md. The largest size but one is the promise of two seconds: 50 upstreams, 200 pods, 300 policies.
 */
export interface Size {
  upstreams: number
  pods: number
  policies: number
}

export const sizes: readonly Size[] = [12, 25, 50, 100].map(n => ({
  upstreams: n,
  pods: 4 * n,
  policies: 6 * n
}))

const gatewayLabels = { 'app.kubernetes.io/name': 'sallyport', 'app.kubernetes.io/instance': 'gateway' }
const name = 'kubernetes.io/metadata.name'

/** `spread`: a namespace for every five upstreams, or all of them in one. */
export function makeCluster(
  { upstreams, pods, policies }: Size,
  spread: boolean
): { text: string; config: UpstreamsView } {
  const where = (index: number): string => (spread ? `team-${Math.floor(index / 5)}` : 'team-0')
  const objects: unknown[] = []
  const add = (namespace: string, own: string, spec: unknown, labels = {}): void => {
    const metadata = { name: own, namespace, labels }
    objects.push({ apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata, spec })
  }
  const inNamespace = (value: string): unknown => ({ matchLabels: { [name]: value } })
  objects.push({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'gateway', namespace: 'gateway', labels: gatewayLabels },
    spec: {
      selector: { matchLabels: gatewayLabels },
      template: { metadata: { labels: gatewayLabels }, spec: {} }
    }
  })
  const indexes = Array.from({ length: upstreams }, (_, index) => index)
  add('gateway', 'gateway', {
    podSelector: { matchLabels: gatewayLabels },
    policyTypes: ['Ingress', 'Egress'],
    ingress: [{ ports: [{ port: 8080 }] }],
    egress: [
      { ports: [{ protocol: 'UDP', port: 53 }] },
      ...indexes.map(index => ({
        to: [
          {
            namespaceSelector: inNamespace(where(index)),
            podSelector: { matchLabels: { app: `app-${index}` } }
          }
        ],
        ports: [{ port: 8080 }]
      }))
    ]
  })
  for (const namespace of new Set(indexes.map(where))) add(namespace, 'default-deny', { podSelector: {} })
  for (const index of indexes) {
    add(where(index), `app-${index}`, {
      podSelector: { matchLabels: { app: `app-${index}` } },
      ingress: [
        {
          from: [{ namespaceSelector: inNamespace('gateway'), podSelector: { matchLabels: gatewayLabels } }],
          ports: [{ port: 8080 }]
        }
      ]
    })
  }
  for (let index = objects.length - 1; index < policies; index++) {
    const owner = index % upstreams
    add(where(owner), `extra-${index}`, {
      podSelector: { matchLabels: { app: `db-${owner}` } },
      ingress: [
        {
          from: [
            {
              podSelector: {
                matchExpressions: [{ key: 'app', operator: 'In', values: [`app-${owner}`, 'job'] }]
              }
            }
          ],
          ports: [{ port: 5432 }, { port: 9000, endPort: 9010 }]
        }
      ]
    })
  }
  for (let index = 0; index < pods; index++) {
    const owner = index % upstreams
    const labels = { app: index < upstreams ? `app-${owner}` : `db-${owner}`, pod: `${index}` }
    const containers = [{ ports: [{ name: 'http', containerPort: 8080 }] }]
    objects.push({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: `pod-${index}`, namespace: where(owner), labels },
      spec: { containers }
    })
  }
  const config: UpstreamsView = {
    upstreams: Object.fromEntries(
      indexes.map(index => [
        `app-${index}`,
        { kubernetes: { namespace: where(index), podSelector: { app: `app-${index}` }, port: 8080 } }
      ])
    )
  }
  return { text: objects.map(each => `---\n${JSON.stringify(each, null, 1)}\n`).join(''), config }
}

/** Milliseconds of wall time (`cpu`: of processor time), and the verdict so that nobody measures the wrong thing. */
export interface Measured {
  read: number
  prove: number
  cpu: number
  verdict: string
}

export function measure(size: Size, spread: boolean): Measured {
  const { text, config } = makeCluster(size, spread)
  const used = process.cpuUsage()
  const start = performance.now()
  const manifests = readManifests([{ file: 'cluster.yaml', text }])
  const upstreams = upstreamsOf(config, 'gateway.yaml')
  const between = performance.now()
  const { verdict } = prove(buildCase(manifests, upstreams, findGateway(manifests, undefined)))
  const proving = performance.now() - between
  const { user, system } = process.cpuUsage(used)
  return { read: between - start, prove: proving, cpu: (user + system) / 1000, verdict }
}

function run(): void {
  measure(sizes[0]!, true)
  console.log('| upstreams | pods | policies | namespaces | read (ms) | prove (ms) | total (ms) | verdict |')
  console.log('|---:|---:|---:|---|---:|---:|---:|---|')
  for (const spread of [true, false]) {
    for (const size of sizes) {
      const runs = [1, 2, 3]
        .map(() => measure(size, spread))
        .sort((a, b) => a.read + a.prove - b.read - b.prove)
      const { read, prove: proving, verdict } = runs[1]!
      const cells = [
        size.upstreams,
        size.pods,
        size.policies,
        spread ? 'one per 5 upstreams' : 'one',
        read.toFixed(0),
        proving.toFixed(0),
        (read + proving).toFixed(0),
        verdict
      ]
      console.log(`| ${cells.join(' | ')} |`)
    }
  }
}

if (import.meta.main) run()
