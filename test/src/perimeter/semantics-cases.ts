import type { Verdict } from '../../../src/perimeter/policy.ts'
import type { Protocol } from '../../../src/perimeter/ports.ts'
import { type Manifest, namespace, pod, policy } from './cluster.ts'

/**
 * The semantics of networking.k8s.io/v1, row by row: S1-S28 are the rows of the table in docs/guide/proof.md. Every case is a cluster
 * of a few pods, one connection in it, and the answer.
 */
export interface Case {
  row: `S${number}`
  says: string
  cluster: Manifest[]
  from: string
  to: string
  port?: number
  protocol?: Protocol
  expect: Verdict
}

const a = pod('x', 'a', { app: 'a', tier: 'front' })
// Names are unique in a container, not in a pod: the second container may use one again.
const containers = [
  { ports: [{ name: 'web', containerPort: 80 }] },
  { ports: [{ name: 'web', containerPort: 53, protocol: 'UDP' }] }
]
const b = pod('x', 'b', { app: 'b' }, { containers })
const c = pod(
  'y',
  'c',
  { app: 'c', tier: 'front' },
  { containers: [{ ports: [{ name: 'web', containerPort: 8080 }] }] }
)
const x = namespace('x', { team: 'one' })
const y = namespace('y', { team: 'two' })
export const base = [x, y, a, b, c]
export const onB = { podSelector: { matchLabels: { app: 'b' } } }
const outside = '203.0.113.9'

function ingress(...rules: unknown[]): Manifest {
  return policy('x', 'p', { ...onB, policyTypes: ['Ingress'], ingress: rules })
}
export function from(...peers: unknown[]): Manifest {
  return ingress({ from: peers })
}
export function on(...entries: unknown[]): Manifest {
  return ingress({ ports: entries })
}

export const cases: Case[] = [
  {
    row: 'S1',
    says: 'a pod that no policy selects takes everything',
    cluster: [],
    from: outside,
    to: 'x/b',
    expect: 'allowed'
  },
  {
    row: 'S1',
    says: 'a policy for another pod isolates nobody else',
    cluster: [policy('x', 'p', { podSelector: { matchLabels: { app: 'a' } } })],
    from: 'y/c',
    to: 'x/b',
    expect: 'allowed'
  },
  {
    row: 'S1',
    says: 'isolation is per direction',
    cluster: [policy('x', 'p', { ...onB, policyTypes: ['Ingress'] })],
    from: 'x/b',
    to: 'y/c',
    expect: 'allowed'
  },
  {
    row: 'S2',
    says: 'an allow in any policy is enough, next to any number of default-denies',
    cluster: [policy('x', 'deny', { podSelector: {} }), from({ podSelector: {} })],
    from: 'x/a',
    to: 'x/b',
    expect: 'allowed'
  },
  {
    row: 'S2',
    says: 'an allow in any rule is enough',
    cluster: [ingress({ ports: [{ port: 1 }] }, { from: [{ podSelector: {} }] })],
    from: 'x/a',
    to: 'x/b',
    expect: 'allowed'
  },
  {
    row: 'S3',
    says: 'the source must be let out too',
    cluster: [
      from({ podSelector: {} }),
      policy('x', 'out', { podSelector: { matchLabels: { app: 'a' } }, policyTypes: ['Egress'] })
    ],
    from: 'x/a',
    to: 'x/b',
    expect: 'denied'
  },
  {
    row: 'S3',
    says: 'an address is never isolated',
    cluster: [policy('x', 'p', { podSelector: {}, policyTypes: ['Ingress'] })],
    from: 'x/a',
    to: outside,
    expect: 'allowed'
  },
  {
    row: 'S4',
    says: 'without policyTypes ingress is isolated',
    cluster: [policy('x', 'p', onB)],
    from: 'x/a',
    to: 'x/b',
    expect: 'denied'
  },
  {
    row: 'S4',
    says: 'an empty spec isolates the ingress of the namespace',
    cluster: [policy('x', 'p', null)],
    from: 'x/a',
    to: 'x/b',
    expect: 'denied'
  },
  {
    row: 'S4',
    says: 'without policyTypes an egress rule isolates egress',
    cluster: [policy('x', 'p', { ...onB, egress: [{ ports: [{ port: 1 }] }] })],
    from: 'x/b',
    to: 'y/c',
    expect: 'denied'
  },
  {
    row: 'S4',
    says: '`egress: []` without policyTypes does not',
    cluster: [policy('x', 'p', { ...onB, egress: [] })],
    from: 'x/b',
    to: 'y/c',
    expect: 'allowed'
  },
  {
    row: 'S4',
    says: 'empty policyTypes are as good as none',
    cluster: [policy('x', 'p', { ...onB, policyTypes: [] })],
    from: 'x/a',
    to: 'x/b',
    expect: 'denied'
  },
  {
    row: 'S5',
    says: 'an ingress section under policyTypes [Egress] does not isolate',
    cluster: [policy('x', 'p', { ...onB, policyTypes: ['Egress'], ingress: [{ ports: [{ port: 1 }] }] })],
    from: 'x/a',
    to: 'x/b',
    expect: 'allowed'
  },
  {
    row: 'S5',
    says: 'and opens nothing that another policy closes',
    cluster: [policy('x', 'p', { ...onB, policyTypes: ['Egress'], ingress: [{}] }), policy('x', 'deny', {})],
    from: 'x/a',
    to: 'x/b',
    expect: 'denied'
  },
  {
    row: 'S6',
    says: 'a listed direction without rules allows nothing',
    cluster: [policy('x', 'p', { ...onB, policyTypes: ['Ingress'], ingress: null })],
    from: 'x/a',
    to: 'x/b',
    expect: 'denied'
  },
  {
    row: 'S6',
    says: 'and with an empty list neither',
    cluster: [ingress()],
    from: 'x/a',
    to: 'x/b',
    expect: 'denied'
  },
  {
    row: 'S6',
    says: 'one empty rule allows everything',
    cluster: [ingress({})],
    from: outside,
    to: 'x/b',
    protocol: 'SCTP',
    expect: 'allowed'
  },
  {
    row: 'S7',
    says: 'peers and ports must both match',
    cluster: [ingress({ from: [{ podSelector: {} }], ports: [{ port: 81 }] })],
    from: 'x/a',
    to: 'x/b',
    expect: 'denied'
  },
  {
    row: 'S7',
    says: 'no peers means everybody, the outside included',
    cluster: [ingress({ ports: [{ port: 80 }] })],
    from: outside,
    to: 'x/b',
    expect: 'allowed'
  },
  {
    row: 'S7',
    says: 'an empty list of peers too',
    cluster: [ingress({ from: [], ports: [{ port: 80 }] })],
    from: outside,
    to: 'x/b',
    expect: 'allowed'
  },
  {
    row: 'S8',
    says: 'no ports means all of them',
    cluster: [from({ podSelector: {} })],
    from: 'x/a',
    to: 'x/b',
    port: 65535,
    protocol: 'UDP',
    expect: 'allowed'
  },
  {
    row: 'S8',
    says: 'an empty list of ports too',
    cluster: [ingress({ ports: [] })],
    from: 'x/a',
    to: 'x/b',
    protocol: 'UDP',
    expect: 'allowed'
  },
  {
    row: 'S8',
    says: 'a port without protocol is TCP',
    cluster: [on({ port: 80 })],
    from: 'x/a',
    to: 'x/b',
    expect: 'allowed'
  },
  {
    row: 'S8',
    says: 'and not UDP',
    cluster: [on({ port: 80 })],
    from: 'x/a',
    to: 'x/b',
    protocol: 'UDP',
    expect: 'denied'
  },
  {
    row: 'S8',
    says: '`ports: [{}]` is all of TCP',
    cluster: [on({})],
    from: 'x/a',
    to: 'x/b',
    port: 7,
    expect: 'allowed'
  },
  {
    row: 'S8',
    says: 'and nothing else',
    cluster: [on({})],
    from: 'x/a',
    to: 'x/b',
    port: 7,
    protocol: 'UDP',
    expect: 'denied'
  },
  {
    row: 'S8',
    says: 'entries are alternatives',
    cluster: [on({ port: 1 }, { protocol: 'UDP' })],
    from: 'x/a',
    to: 'x/b',
    port: 9,
    protocol: 'UDP',
    expect: 'allowed'
  },
  {
    row: 'S9',
    says: 'no podSelector selects every pod of the namespace',
    cluster: [policy('x', 'p', { policyTypes: ['Ingress'] })],
    from: 'x/a',
    to: 'x/b',
    expect: 'denied'
  },
  {
    row: 'S9',
    says: 'and none of another one',
    cluster: [policy('x', 'p', { policyTypes: ['Ingress'] })],
    from: 'x/a',
    to: 'y/c',
    expect: 'allowed'
  },
  {
    row: 'S10',
    says: 'a podSelector alone means the own namespace',
    cluster: [from({ podSelector: { matchLabels: { tier: 'front' } } })],
    from: 'x/a',
    to: 'x/b',
    expect: 'allowed'
  },
  {
    row: 'S10',
    says: 'and not another one',
    cluster: [from({ podSelector: { matchLabels: { tier: 'front' } } })],
    from: 'y/c',
    to: 'x/b',
    expect: 'denied'
  },
  {
    row: 'S10',
    says: 'a namespaceSelector alone means all pods there',
    cluster: [from({ namespaceSelector: { matchLabels: { team: 'two' } } })],
    from: 'y/c',
    to: 'x/b',
    expect: 'allowed'
  },
  {
    row: 'S10',
    says: 'and not those of the own namespace',
    cluster: [from({ namespaceSelector: { matchLabels: { team: 'two' } } })],
    from: 'x/a',
    to: 'x/b',
    expect: 'denied'
  },
  {
    row: 'S10',
    says: 'both in one item must both match',
    cluster: [
      from({
        namespaceSelector: { matchLabels: { team: 'two' } },
        podSelector: { matchLabels: { app: 'a' } }
      })
    ],
    from: 'y/c',
    to: 'x/b',
    expect: 'denied'
  },
  {
    row: 'S10',
    says: 'in two items either is enough',
    cluster: [
      from(
        { namespaceSelector: { matchLabels: { team: 'two' } } },
        { podSelector: { matchLabels: { app: 'a' } } }
      )
    ],
    from: 'y/c',
    to: 'x/b',
    expect: 'allowed'
  },
  {
    row: 'S11',
    says: '`namespaceSelector: {}` is every pod of every namespace',
    cluster: [from({ namespaceSelector: {} })],
    from: 'x/a',
    to: 'x/b',
    expect: 'allowed'
  },
  {
    row: 'S11',
    says: 'of other ones too',
    cluster: [from({ namespaceSelector: {} })],
    from: 'y/c',
    to: 'x/b',
    expect: 'allowed'
  },
  {
    row: 'S11',
    says: 'and never the outside',
    cluster: [from({ namespaceSelector: {} })],
    from: outside,
    to: 'x/b',
    expect: 'denied'
  },
  {
    row: 'S11',
    says: '`podSelector: {}` alone is the own namespace only',
    cluster: [from({ podSelector: {} })],
    from: 'y/c',
    to: 'x/b',
    expect: 'denied'
  },
  {
    row: 'S12',
    says: 'labels and expressions must all hold',
    cluster: [
      from({
        podSelector: {
          matchLabels: { app: 'a' },
          matchExpressions: [{ key: 'tier', operator: 'In', values: ['back'] }]
        }
      })
    ],
    from: 'x/a',
    to: 'x/b',
    expect: 'denied'
  },
  {
    row: 'S12',
    says: 'NotIn matches where the key is missing',
    cluster: [
      from({ podSelector: { matchExpressions: [{ key: 'none', operator: 'NotIn', values: ['v'] }] } })
    ],
    from: 'x/a',
    to: 'x/b',
    expect: 'allowed'
  },
  {
    row: 'S12',
    says: 'NotIn does not match a listed value',
    cluster: [
      from({ podSelector: { matchExpressions: [{ key: 'tier', operator: 'NotIn', values: ['front'] }] } })
    ],
    from: 'x/a',
    to: 'x/b',
    expect: 'denied'
  },
  {
    row: 'S12',
    says: 'DoesNotExist matches where the key is missing',
    cluster: [from({ podSelector: { matchExpressions: [{ key: 'none', operator: 'DoesNotExist' }] } })],
    from: 'x/a',
    to: 'x/b',
    expect: 'allowed'
  },
  {
    row: 'S12',
    says: 'Exists does not',
    cluster: [from({ podSelector: { matchExpressions: [{ key: 'none', operator: 'Exists' }] } })],
    from: 'x/a',
    to: 'x/b',
    expect: 'denied'
  },
  {
    row: 'S13',
    says: 'a block matches an address outside the cluster',
    cluster: [from({ ipBlock: { cidr: '203.0.113.0/24' } })],
    from: outside,
    to: 'x/b',
    expect: 'allowed'
  },
  {
    row: 'S13',
    says: 'and no other',
    cluster: [from({ ipBlock: { cidr: '198.51.100.0/24' } })],
    from: outside,
    to: 'x/b',
    expect: 'denied'
  },
  {
    row: 'S13',
    says: 'whether it matches a pod depends on the CNI',
    cluster: [from({ ipBlock: { cidr: '10.0.0.0/8' } })],
    from: 'x/a',
    to: 'x/b',
    expect: 'cni-dependent'
  },
  {
    row: 'S13',
    says: 'a pod whose address lies elsewhere is not matched by any',
    cluster: [
      { ...pod('x', 'd'), status: { podIP: '192.168.0.5' } },
      from({ ipBlock: { cidr: '10.0.0.0/8' } })
    ],
    from: 'x/d',
    to: 'x/b',
    expect: 'denied'
  },
  {
    row: 'S14',
    says: 'an exception is taken from its block',
    cluster: [from({ ipBlock: { cidr: '203.0.0.0/16', except: ['203.0.113.0/24'] } })],
    from: outside,
    to: 'x/b',
    expect: 'denied'
  },
  {
    row: 'S14',
    says: 'but another peer can allow it again',
    cluster: [
      from(
        { ipBlock: { cidr: '203.0.0.0/16', except: ['203.0.113.0/24'] } },
        { ipBlock: { cidr: '203.0.113.9/32' } }
      )
    ],
    from: outside,
    to: 'x/b',
    expect: 'allowed'
  },
  {
    row: 'S14',
    says: '0.0.0.0/0 says nothing about IPv6',
    cluster: [from({ ipBlock: { cidr: '0.0.0.0/0' } })],
    from: '2001:db8::1',
    to: 'x/b',
    expect: 'denied'
  },
  {
    row: 'S14',
    says: '::/0 does',
    cluster: [from({ ipBlock: { cidr: '::/0' } })],
    from: '2001:db8::1',
    to: 'x/b',
    expect: 'allowed'
  },
  {
    row: 'S15',
    says: 'a port name is what the destination calls so',
    cluster: [on({ port: 'web' })],
    from: 'x/a',
    to: 'x/b',
    port: 80,
    expect: 'allowed'
  },
  {
    row: 'S15',
    says: 'by its protocol too',
    cluster: [on({ port: 'web' })],
    from: 'x/a',
    to: 'x/b',
    port: 53,
    protocol: 'UDP',
    expect: 'denied'
  },
  {
    row: 'S15',
    says: 'for egress the destination is the peer',
    cluster: [policy('x', 'p', { ...onB, egress: [{ ports: [{ port: 'web' }] }] })],
    from: 'x/b',
    to: 'y/c',
    port: 8080,
    expect: 'allowed'
  },
  {
    row: 'S15',
    says: 'a name cannot match an address',
    cluster: [policy('x', 'p', { ...onB, egress: [{ ports: [{ port: 'web' }] }] })],
    from: 'x/b',
    to: outside,
    port: 80,
    expect: 'denied'
  },
  {
    row: 'S15',
    says: 'a name that no container has matches nothing',
    cluster: [on({ port: 'admin' })],
    from: 'x/a',
    to: 'x/b',
    port: 80,
    expect: 'denied'
  },
  {
    row: 'S16',
    says: 'a range includes its end',
    cluster: [on({ port: 80, endPort: 90 })],
    from: 'x/a',
    to: 'x/b',
    port: 90,
    expect: 'allowed'
  },
  {
    row: 'S16',
    says: 'and nothing after it',
    cluster: [on({ port: 80, endPort: 90 })],
    from: 'x/a',
    to: 'x/b',
    port: 91,
    expect: 'denied'
  },
  {
    row: 'S17',
    says: 'an SCTP rule isolates and opens SCTP',
    cluster: [on({ port: 80, protocol: 'SCTP' })],
    from: 'x/a',
    to: 'x/b',
    protocol: 'SCTP',
    expect: 'allowed'
  },
  {
    row: 'S17',
    says: 'and never TCP',
    cluster: [on({ port: 80, protocol: 'SCTP' })],
    from: 'x/a',
    to: 'x/b',
    expect: 'denied'
  },
  {
    row: 'S17',
    says: 'UDP likewise',
    cluster: [on({ port: 80, protocol: 'UDP' })],
    from: 'x/a',
    to: 'x/b',
    expect: 'denied'
  },
  {
    row: 'S19',
    says: 'whether a policy binds a hostNetwork pod depends on the CNI',
    cluster: [pod('x', 'h', { app: 'b' }, { hostNetwork: true }), ingress()],
    from: 'x/a',
    to: 'x/h',
    expect: 'cni-dependent'
  },
  {
    row: 'S19',
    says: 'whether a selector matches one does too',
    cluster: [
      pod('x', 'h', { app: 'h' }, { hostNetwork: true, nodeName: 'n1' }),
      pod('x', 'e', { app: 'b' }, { nodeName: 'n2' }),
      from({ podSelector: {} })
    ],
    from: 'x/h',
    to: 'x/e',
    expect: 'cni-dependent'
  },
  {
    row: 'S20',
    says: "a hostNetwork pod may be the pod's own node",
    cluster: [
      pod('y', 'h', {}, { hostNetwork: true, nodeName: 'n1' }),
      pod('x', 'e', { app: 'b' }, { nodeName: 'n1' }),
      ingress()
    ],
    from: 'y/h',
    to: 'x/e',
    expect: 'cni-dependent'
  },
  {
    row: 'S20',
    says: 'but other nodes are not exempt',
    cluster: [
      pod('y', 'h', {}, { hostNetwork: true, nodeName: 'n1' }),
      pod('x', 'e', { app: 'b' }, { nodeName: 'n2' }),
      ingress()
    ],
    from: 'y/h',
    to: 'x/e',
    expect: 'denied'
  },
  {
    row: 'S21',
    says: 'a reply needs no rule: only the way that opens is judged',
    cluster: [
      from({ podSelector: { matchLabels: { app: 'a' } } }),
      policy('x', 'shut', { podSelector: { matchLabels: { app: 'a' } }, policyTypes: ['Ingress'] })
    ],
    from: 'x/a',
    to: 'x/b',
    expect: 'allowed'
  },
  {
    row: 'S22',
    says: 'a pod reaches itself by its address',
    cluster: [ingress(), policy('x', 'out', { ...onB, policyTypes: ['Egress'] })],
    from: 'x/b',
    to: 'x/b',
    expect: 'allowed'
  },
  {
    row: 'S25',
    says: 'a policy protects no other namespace',
    cluster: [policy('x', 'p', {})],
    from: 'x/a',
    to: 'y/c',
    expect: 'allowed'
  },
  {
    row: 'S26',
    says: 'ports of sidecars are named too',
    cluster: [
      pod(
        'x',
        's',
        { app: 'b' },
        { initContainers: [{ restartPolicy: 'Always', ports: [{ name: 'side', containerPort: 9000 }] }] }
      ),
      on({ port: 'side' })
    ],
    from: 'x/a',
    to: 'x/s',
    port: 9000,
    expect: 'allowed'
  },
  {
    row: 'S27',
    says: 'a namespace has its name as a label',
    cluster: [from({ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'y' } } })],
    from: 'y/c',
    to: 'x/b',
    expect: 'allowed'
  },
  {
    row: 'S27',
    says: 'which no Namespace object can change',
    cluster: [
      namespace('z', { 'kubernetes.io/metadata.name': 'y' }),
      pod('z', 'd'),
      from({ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'y' } } })
    ],
    from: 'z/d',
    to: 'x/b',
    expect: 'denied'
  },
  {
    row: 'S27',
    says: 'also where no Namespace object is given',
    cluster: [
      pod('z', 'd'),
      from({ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'z' } } })
    ],
    from: 'z/d',
    to: 'x/b',
    expect: 'allowed'
  }
]
