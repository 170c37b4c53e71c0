import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { parseAllDocuments } from 'yaml'
import { findGateway } from '../../../src/perimeter/gateway.ts'
import { readManifests } from '../../../src/perimeter/manifests.ts'
import { buildCase, type Proof, prove } from '../../../src/perimeter/prove.ts'
import { readUpstreams } from '../../../src/perimeter/upstreams.ts'
import { type Manifest, namespace, pod, policy, text } from './cluster.ts'

/** The textbook perimeter is proven; every single mistake in it is refuted or not proven, and the report names the culprit. */
const folder = 'test/golden/perimeter/textbook'
const upstreams = readUpstreams(`${folder}/gateway.yaml`)
const textbook: Manifest[] = readdirSync(`${folder}/manifests`).flatMap(file =>
  [...parseAllDocuments(readFileSync(`${folder}/manifests/${file}`, 'utf8'))].map(
    each => each.toJS() as Manifest
  )
)

type Json = { [key: string]: Json } & Json[]

function verify(change: (find: (kind: string, name: string) => Json, all: Manifest[]) => void): Proof {
  const all = structuredClone(textbook)
  change((kind, name) => {
    const [namespace, own] = name.split('/')
    const found = all.find(each => {
      const metadata = each.metadata as Manifest
      return each.kind === kind && metadata.namespace === namespace && metadata.name === own
    })
    if (found === undefined) throw new Error(`no ${kind} ${name}`)
    return found as unknown as Json
  }, all)
  const manifests = readManifests([{ file: 'mutant.json', text: text(all) }])
  return prove(buildCase(manifests, upstreams, findGateway(manifests, undefined)), upstreams.outside)
}

function drop(all: Manifest[], found: Json): void {
  all.splice(all.indexOf(found as unknown as Manifest), 1)
}

t.test('the textbook perimeter is proven, with nothing to remark', async t => {
  const proof = verify(() => {})
  t.equal(proof.verdict, 'proven')
  t.strictSame(
    proof.upstreams.map(each => [each.name, each.verdict, each.counterexamples, each.findings]),
    [
      ['orders', 'proven', [], []],
      ['orders-grpc', 'proven', [], []],
      ['billing', 'proven', [], []]
    ]
  )
  t.strictSame(proof.findings, [])
})

interface Mutation {
  what: string
  change: Parameters<typeof verify>[0]
  verdict: 'refuted' | 'not-proven'
  /** The name that the report must give, and the finding, if there is one for it. */
  culprit: string
  code?: string
}

const fromGateway = (find: (kind: string, name: string) => Json): Json =>
  find('NetworkPolicy', 'shop/orders').spec!.ingress![0]!.from![0]!

const mutations: Mutation[] = [
  {
    what: "an upstream's policy is dropped: the gateway is locked out",
    change: (find, all) => drop(all, find('NetworkPolicy', 'finance/billing')),
    verdict: 'refuted',
    culprit: 'finance/default-deny',
    code: 'gateway-unreachable'
  },
  {
    what: "the gateway's own policy is dropped: it may call anything",
    change: (find, all) => drop(all, find('NetworkPolicy', 'gateway/gateway')),
    verdict: 'refuted',
    culprit: 'no policy isolates the egress',
    code: 'gateway-egress-open'
  },
  {
    what: 'default-deny and the policy are dropped: everybody comes in',
    change: (find, all) => {
      drop(all, find('NetworkPolicy', 'finance/billing'))
      drop(all, find('NetworkPolicy', 'finance/default-deny'))
    },
    verdict: 'refuted',
    culprit: 'the lack of any policy',
    code: 'default-deny-missing'
  },
  {
    what: 'only default-deny is dropped: other pods of the namespace are open',
    change: (find, all) => drop(all, find('NetworkPolicy', 'shop/default-deny')),
    verdict: 'not-proven',
    culprit: 'shop has no default-deny for ingress',
    code: 'default-deny-missing'
  },
  {
    what: 'default-deny forgets a direction that was declared',
    change: find =>
      void Object.assign(find('NetworkPolicy', 'finance/default-deny').spec!, { policyTypes: ['Ingress'] }),
    verdict: 'not-proven',
    culprit: 'finance has no default-deny for egress',
    code: 'default-deny-missing'
  },
  {
    what: "a label of an upstream's policy is dropped: pods that are no upstream are open to the gateway",
    change: find => void delete find('NetworkPolicy', 'finance/billing').spec!.podSelector!.matchLabels!.app,
    verdict: 'not-proven',
    culprit: 'finance/billing ingress[0] opens more',
    code: 'policy-opens-more'
  },
  {
    what: "the gateway's admin port is opened to everybody",
    change: find => void delete find('NetworkPolicy', 'gateway/gateway').spec!.ingress![1]!.from,
    verdict: 'refuted',
    culprit: 'TCP 9090 of the gateway',
    code: 'gateway-ingress-open'
  },
  {
    what: "the gateway's public port is shut",
    change: find =>
      void (find('NetworkPolicy', 'gateway/gateway').spec!.ingress as unknown as Manifest[]).splice(0, 1),
    verdict: 'refuted',
    culprit: 'declared to take calls on http',
    code: 'gateway-ingress-closed'
  },
  {
    what: 'metrics cannot be scraped',
    change: find =>
      void (find('NetworkPolicy', 'gateway/gateway').spec!.ingress as unknown as Manifest[]).splice(1, 1),
    verdict: 'refuted',
    culprit: 'declared to take calls on admin',
    code: 'gateway-ingress-closed'
  },
  {
    what: 'a label of the peer is dropped: pods with fewer labels come in',
    change: find => void delete fromGateway(find).podSelector!.matchLabels!['app.kubernetes.io/component'],
    verdict: 'refuted',
    culprit: 'shop/orders'
  },
  {
    what: 'the podSelector of the peer is dropped: the whole namespace of the gateway comes in',
    change: find => void delete fromGateway(find).podSelector,
    verdict: 'refuted',
    culprit: 'shop/orders'
  },
  {
    what: 'the namespaceSelector of the peer is widened: an impostor comes in from anywhere',
    change: find => void Object.assign(fromGateway(find), { namespaceSelector: {} }),
    verdict: 'refuted',
    culprit: 'an impostor'
  },
  {
    what: 'the namespaceSelector names a label of its own: any namespace can carry it',
    change: find =>
      void Object.assign(fromGateway(find), { namespaceSelector: { matchLabels: { name: 'gateway' } } }),
    verdict: 'refuted',
    culprit: 'shop/orders',
    code: 'selector-matches-nothing'
  },
  {
    what: 'the peer is split into two items',
    change: find => {
      const { namespaceSelector, podSelector } = fromGateway(find) as unknown as Manifest
      const rule = find('NetworkPolicy', 'shop/orders').spec!.ingress![0]!
      Object.assign(rule, { from: [{ namespaceSelector }, { podSelector }] })
    },
    verdict: 'refuted',
    culprit: 'shop/orders',
    code: 'dash-slip'
  },
  {
    what: 'the port is changed: the gateway is locked out, and another port is open to it',
    change: find =>
      void Object.assign(find('NetworkPolicy', 'finance/billing').spec!.ingress![0]!, {
        ports: [{ port: 9001 }]
      }),
    verdict: 'refuted',
    culprit: 'finance/billing'
  },
  {
    what: 'the ports are dropped: every port is open to the gateway',
    change: find => void delete find('NetworkPolicy', 'shop/orders').spec!.ingress![0]!.ports,
    verdict: 'not-proven',
    culprit: 'shop/orders'
  },
  {
    what: 'ports are dropped at both ends: the gateway reaches another port',
    change: find => {
      delete find('NetworkPolicy', 'shop/orders').spec!.ingress![0]!.ports
      delete find('NetworkPolicy', 'gateway/gateway').spec!.egress![1]!.ports
    },
    verdict: 'refuted',
    culprit: 'the gateway itself'
  },
  {
    what: 'somebody adds a broad policy to the namespace',
    change: (_, all) => void all.push(policy('shop', 'allow-all', { ingress: [{}] })),
    verdict: 'refuted',
    culprit: 'shop/allow-all',
    code: 'foreign-policy-opens'
  },
  {
    what: 'somebody lets the namespace talk to itself, on a port that is no upstream',
    change: (_, all) =>
      void all.push(
        policy('shop', 'metrics', { ingress: [{ from: [{ podSelector: {} }], ports: [{ port: 9100 }] }] })
      ),
    verdict: 'refuted',
    culprit: 'shop/metrics',
    code: 'foreign-policy-opens'
  },
  {
    what: 'a policy for other labels would open a pod that carries both',
    change: (_, all) =>
      void all.push(
        policy('shop', 'front', { podSelector: { matchLabels: { tier: 'front' } }, ingress: [{}] })
      ),
    verdict: 'refuted',
    culprit: 'shop/front'
  },
  {
    what: 'only a policy at the source stops what the namespace lets in',
    change: (_, all) =>
      void all.push(
        policy('finance', 'same', { ingress: [{ from: [{ podSelector: {} }], ports: [{ port: 9000 }] }] })
      ),
    verdict: 'not-proven',
    culprit: 'only an egress policy of finance'
  },
  {
    what: 'private addresses are let in: pods may have them',
    change: (_, all) =>
      void all.push(
        policy('shop', 'lan', {
          ingress: [{ from: [{ ipBlock: { cidr: '10.0.0.0/8' } }], ports: [{ port: 8080 }] }]
        })
      ),
    verdict: 'not-proven',
    culprit: 'shop/lan'
  },
  {
    what: 'the whole internet is let in',
    change: (_, all) =>
      void all.push(
        policy('shop', 'world', {
          ingress: [{ from: [{ ipBlock: { cidr: '0.0.0.0/0' } }], ports: [{ port: 8080 }] }]
        })
      ),
    verdict: 'refuted',
    culprit: 'shop/world'
  },
  {
    what: 'a Service becomes a NodePort',
    change: find => void Object.assign(find('Service', 'shop/orders').spec!, { type: 'NodePort' }),
    verdict: 'not-proven',
    culprit: 'shop/orders',
    code: 'service-exposed'
  },
  {
    what: "the configuration has the Service's port",
    change: find => {
      const service = find('Service', 'shop/orders').spec!
      Object.assign(service, { ports: [{ port: 8080, targetPort: 8081 }] })
    },
    verdict: 'refuted',
    culprit: 'shop/orders',
    code: 'service-port'
  },
  {
    what: 'the Service sends the port of the URL elsewhere',
    change: find => {
      const service = find('Service', 'shop/orders').spec!
      Object.assign(service, { ports: [{ port: 80, targetPort: 8081 }] })
    },
    verdict: 'refuted',
    culprit: 'to port 8081 of the pods',
    code: 'service-port'
  },
  {
    what: "the upstream's pods move to the host's network",
    change: find =>
      void Object.assign(find('Deployment', 'shop/orders').spec!.template!.spec!, { hostNetwork: true }),
    verdict: 'not-proven',
    culprit: 'shop/orders',
    code: 'host-network'
  },
  {
    what: "the gateway's pods do",
    change: find =>
      void Object.assign(find('Deployment', 'gateway/gateway').spec!.template!.spec!, { hostNetwork: true }),
    verdict: 'not-proven',
    culprit: 'gateway/gateway',
    code: 'host-network'
  },
  {
    what: "the gateway's egress is opened to a namespace",
    change: find =>
      void Object.assign(find('NetworkPolicy', 'gateway/gateway').spec!.egress![1]!, {
        to: [{ namespaceSelector: {} }]
      }),
    verdict: 'refuted',
    culprit: 'gateway/gateway',
    code: 'gateway-egress-open'
  },
  {
    what: 'its rule for an upstream is dropped',
    change: find =>
      void (find('NetworkPolicy', 'gateway/gateway').spec!.egress as unknown as Manifest[]).splice(1, 1),
    verdict: 'refuted',
    culprit: 'gateway/gateway',
    code: 'gateway-unreachable'
  },
  {
    what: 'the policy of a declared edge is dropped: it does not work',
    change: (find, all) => drop(all, find('NetworkPolicy', 'shop/web-to-orders')),
    verdict: 'refuted',
    culprit: 'shop[0]',
    code: 'edge-broken'
  },
  {
    what: 'the policy of a declared edge opens more',
    change: find =>
      void Object.assign(find('NetworkPolicy', 'shop/web-to-orders').spec!, {
        podSelector: { matchLabels: { app: 'db' } }
      }),
    verdict: 'refuted',
    culprit: 'shop/web-to-orders',
    code: 'edge-opens-more'
  },
  {
    what: 'a policy of another API is there too',
    change: (_, all) =>
      void all.push({
        apiVersion: 'cilium.io/v2',
        kind: 'CiliumNetworkPolicy',
        metadata: { name: 'x', namespace: 'shop' }
      }),
    verdict: 'not-proven',
    culprit: 'CiliumNetworkPolicy',
    code: 'other-policy-api'
  }
]

for (const { what, change, verdict, culprit, code } of mutations) {
  t.test(`${what}: ${verdict}`, async t => {
    const proof = verify(change)
    const all = [...proof.findings, ...proof.upstreams.flatMap(each => each.findings)]
    const examples = proof.upstreams.flatMap(each => each.counterexamples)
    const shown = JSON.stringify({ examples, all }, null, 1)
    t.equal(proof.verdict, verdict, shown)
    const accused = JSON.stringify([
      examples.map(each => [each.policy, each.why]),
      all.map(each => each.text)
    ])
    t.ok(accused.includes(culprit), `${culprit} is named in ${shown}`)
    if (code !== undefined)
      t.ok(
        all.some(each => each.code === code),
        `${code} in ${shown}`
      )
    for (const { at } of [...examples, ...all]) t.match(at ?? 'x:1:1', /:\d+:\d+$/)
  })
}

t.test('what belongs to other pods changes nothing for the upstreams', async t => {
  const proof = verify((_, all) => {
    all.push(
      policy('shop', 'db', {
        podSelector: { matchLabels: { app: 'db' } },
        ingress: [{ from: [{ podSelector: { matchLabels: { app: 'orders' } } }], ports: [{ port: 5432 }] }]
      })
    )
    all.push(policy('elsewhere', 'open', { ingress: [{}] }))
    all.push(namespace('elsewhere', { team: 'x' }), pod('elsewhere', 'p'))
  })
  t.equal(proof.verdict, 'proven')
  t.match(proof.findings, [{ code: 'foreign-policy-opens', text: /^shop\/db/ }], 'but it is remarked')
})

t.test("a test pod with the gateway's labels is the gateway, and is remarked", async t => {
  const labels = {
    'app.kubernetes.io/name': 'sallyport',
    'app.kubernetes.io/instance': 'gateway',
    'app.kubernetes.io/component': 'gateway'
  }
  const proof = verify((_, all) => void all.push(pod('gateway', 'test', labels)))
  t.match(proof.findings, [{ code: 'gateway-labels-shared', text: /gateway\/test/ }])
})

t.test('a port name counts as the number that the declared pods give it', async t => {
  const named = (name: string): Proof =>
    verify(
      find =>
        void Object.assign(find('NetworkPolicy', 'finance/billing').spec!.ingress![0]!, {
          ports: [{ port: name }]
        })
    )
  t.equal(named('http').verdict, 'proven')
  t.equal(named('nothing').verdict, 'refuted')
})
