import fc from 'fast-check'
import t from 'tap'
import { runVerify } from '../../src/perimeter/verify.ts'
import { type Manifest, renderValues } from './render.ts'
import { type Table, tables } from './tables.ts'
import { needs } from './tools.ts'

interface Peer {
  namespaceSelector?: object
  podSelector?: { matchLabels: Record<string, string> }
}
interface Rule {
  from?: Peer[]
  to?: Peer[]
  ports?: { port: number }[]
}
interface Policy extends Manifest {
  spec: { podSelector: object; policyTypes: string[]; ingress?: Rule[]; egress?: Rule[] }
}

const roleOf = (object: Manifest): string | undefined => object.metadata.labels?.['sallyport.io/role']
const withRole = (objects: Manifest[], role: string): Policy =>
  objects.find(each => roleOf(each) === role) as Policy
const nameOf = ({ metadata }: Manifest): string => `${metadata.namespace}/${metadata.name}`

interface Mutation {
  /** Changes the objects, and says what must be named as the culprit. */
  apply(objects: Manifest[], table: Table): string
}

/** The first peer of the policy that lets the gateway in. */
function gatewayPeer(objects: Manifest[]): { policy: Policy; rule: Rule; peer: Peer } {
  const policy = withRole(objects, 'upstream')
  const rule = policy.spec.ingress![0]!
  return { policy, rule, peer: rule.from![0]! }
}

function drop(objects: Manifest[], object: Manifest): void {
  objects.splice(objects.indexOf(object), 1)
}

/** Each is one slip that a person could make in one of the rendered objects. */
const mutations: Record<string, Mutation> = {
  'an upstream without its policy': {
    apply(objects) {
      const policy = withRole(objects, 'upstream')
      drop(objects, policy)
      return policy.metadata.name.split('.').at(-1) as string
    }
  },
  'a gateway without its policy': {
    apply(objects) {
      drop(objects, withRole(objects, 'gateway'))
      return 'the gateway'
    }
  },
  'a peer without one of the labels': {
    apply(objects) {
      const { policy, peer } = gatewayPeer(objects)
      delete peer.podSelector!.matchLabels['app.kubernetes.io/component']
      return nameOf(policy)
    }
  },
  'a peer of a whole namespace': {
    apply(objects) {
      const { policy, peer } = gatewayPeer(objects)
      delete peer.podSelector
      return nameOf(policy)
    }
  },
  'a peer of every namespace': {
    apply(objects) {
      const { policy, peer } = gatewayPeer(objects)
      peer.namespaceSelector = {}
      return nameOf(policy)
    }
  },
  'a peer that a second dash made two of': {
    apply(objects) {
      const { policy, rule, peer } = gatewayPeer(objects)
      rule.from = [{ namespaceSelector: peer.namespaceSelector! }, { podSelector: peer.podSelector! }]
      return nameOf(policy)
    }
  },
  'a port that is the wrong one': {
    apply(objects) {
      const { policy, rule } = gatewayPeer(objects)
      rule.ports![0]!.port = 9
      return policy.metadata.name.split('.').at(-1) as string
    }
  },
  'a rule without ports': {
    apply(objects) {
      const { policy, rule } = gatewayPeer(objects)
      delete rule.ports
      return nameOf(policy)
    }
  },
  'a broad policy by somebody else': {
    apply(objects, table) {
      const { namespace } = Object.values(table.config.upstreams)[0]!.kubernetes
      objects.push({
        apiVersion: 'networking.k8s.io/v1',
        kind: 'NetworkPolicy',
        metadata: { name: 'for-debugging', namespace },
        spec: { podSelector: {}, policyTypes: ['Ingress'], ingress: [{}] }
      })
      return `${namespace}/for-debugging`
    }
  },
  'a Service on the ports of the nodes': {
    apply(objects, table) {
      const { namespace, podSelector, port } = Object.values(table.config.upstreams)[0]!.kubernetes
      objects.push({
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: 'shortcut', namespace },
        spec: { type: 'NodePort', selector: podSelector, ports: [{ port, nodePort: 30080 }] }
      })
      return `${namespace}/shortcut`
    }
  },
  'a gateway that may connect to anything': {
    apply(objects) {
      const policy = withRole(objects, 'gateway')
      policy.spec.egress!.push({})
      return nameOf(policy)
    }
  },
  'an admin port that is open to everybody': {
    apply(objects) {
      const policy = withRole(objects, 'gateway')
      policy.spec.ingress!.push({ ports: [{ port: 9090 }] })
      return nameOf(policy)
    }
  },
  'a test pod that carries the labels of the gateway': {
    apply(objects) {
      const pod = objects.find(each => each.kind === 'Pod')!
      pod.metadata.labels!['app.kubernetes.io/component'] = 'gateway'
      return pod.metadata.name
    }
  }
}

/** Slips that the proof reports without calling the upstreams reachable by others. */
const findingOnly = new Set(['a test pod that carries the labels of the gateway'])

async function verify(objects: Manifest[], table: Table): Promise<{ exitCode: number; output: string }> {
  const text = objects.map(each => JSON.stringify(each)).join('\n---\n')
  return runVerify({ config: table.config, manifests: ['-'], stdin: () => text })
}

t.test('whatever the table says, the gateway is the only way in', needs('helm4'), async t => {
  const seed = Number(process.env.SALLYPORT_SEED ?? 20261123)
  const count = Number(process.env.SALLYPORT_TABLES ?? 12)
  t.comment(`seed ${seed}; SALLYPORT_SEED and SALLYPORT_TABLES try others`)
  for (const [index, table] of fc.sample(tables, { seed, numRuns: count }).entries()) {
    const { objects } = await renderValues(table)
    const { exitCode, output } = await verify(objects, table)
    t.equal(
      exitCode,
      0,
      `table ${index}: ${exitCode === 0 ? 'proven' : `${output}\n${JSON.stringify(table)}`}`
    )
    for (const [what, mutation] of Object.entries(mutations)) {
      const changed = structuredClone(objects)
      const culprit = mutation.apply(changed, table)
      const found = await verify(changed, table)
      if (!findingOnly.has(what))
        t.ok(found.exitCode === 1 || found.exitCode === 2, `table ${index}, ${what}: not proven`)
      t.ok(
        found.output.includes(culprit),
        `table ${index}, ${what}: names ${culprit}\n${found.output.slice(0, 1500)}`
      )
    }
  }
})

t.test(
  'the same table renders the same policies, in whatever order it is written',
  needs('helm4'),
  async t => {
    const [table] = fc.sample(tables, { seed: 7, numRuns: 1 }) as [Table]
    const turned = JSON.parse(JSON.stringify(table), (_key, value) =>
      typeof value === 'object' && value !== null && !Array.isArray(value)
        ? Object.fromEntries(Object.entries(value).reverse())
        : value
    )
    t.equal((await renderValues(turned)).text, (await renderValues(table)).text)
  }
)

t.test('two gateways can protect one namespace', needs('helm4'), async t => {
  const upstream = {
    url: 'http://a.shop.svc',
    kubernetes: { namespace: 'shop', podSelector: { app: 'a' }, port: 80 }
  }
  const one = await renderValues({ config: { upstreams: { a: upstream } } })
  const two = await renderValues({ config: { upstreams: { a: upstream } }, fullnameOverride: 'second' })
  const names = (objects: Manifest[]) =>
    objects.filter(each => each.metadata.namespace === 'shop').map(nameOf)
  t.strictSame(
    names(one.objects).filter(name => names(two.objects).includes(name)),
    []
  )
})
