import type { AddressSet } from './addresses.ts'
import type { ContainerPort, PortEntry, Protocol } from './ports.ts'
import type { Labels, Selector } from './selector.ts'

/** Where something is written: `file:line:col`. */
export type At = string

/** One pod, or the pods that one workload makes from its template. */
export interface Pod {
  kind: string
  namespace: string
  name: string
  labels: Labels
  ports: readonly ContainerPort[]
  hostNetwork: boolean
  /** Addresses of a running pod, as `kubectl get -o json` shows them; empty for templates. */
  addresses: readonly string[]
  node: string | undefined
  /** Kind and name of the workload that made it, if any. */
  owner: string | undefined
  /** The selector of the workload, where it has one: the labels that never change. */
  selector: Labels | undefined
  /** Labels of the workload itself, not of its pods. */
  ownLabels: Labels
  annotations: Labels
  at: At
}

export interface ServicePort {
  port: number
  protocol: Protocol
  target: number | string
  nodePort: number | undefined
  at: At
}

export interface Service {
  namespace: string
  name: string
  type: string
  selector: Labels | undefined
  ports: readonly ServicePort[]
  externalIPs: readonly string[]
  clusterIPs: readonly string[]
  at: At
}

export interface Namespace {
  name: string
  /** With `kubernetes.io/metadata.name`, which the control plane sets (S27). */
  labels: Labels
  /** Undefined when no Namespace object was given. */
  at: At | undefined
}

export type Peer =
  | { kind: 'pods'; namespaces: Selector | undefined; pods: Selector | undefined; at: At }
  | { kind: 'block'; text: string; set: AddressSet; at: At }

export interface Rule {
  index: number
  /** Undefined: anybody, addresses outside the cluster included (S7). */
  peers: readonly Peer[] | undefined
  /** Undefined: every port of every protocol (S8). */
  ports: readonly PortEntry[] | undefined
  at: At
}

export type Direction = 'ingress' | 'egress'

export interface Policy {
  namespace: string
  name: string
  labels: Labels
  annotations: Labels
  podSelector: Selector
  /** Undefined: the policy does not isolate in this direction (S1, S5). An empty list allows nothing (S6). */
  ingress: readonly Rule[] | undefined
  egress: readonly Rule[] | undefined
  at: At
}

export interface Manifests {
  pods: Pod[]
  services: Service[]
  namespaces: Namespace[]
  policies: Policy[]
  /** Policies of other APIs, which can allow or deny what a NetworkPolicy does not. */
  otherPolicies: { kind: string; name: string; at: At }[]
  /** How many objects of kinds that say nothing about connections were passed over. */
  ignored: Map<string, number>
}

/** Input that cannot be read, or that the API server would refuse; every mistake in it is in the message. */
export class BadInput extends Error {
  readonly problems: readonly string[]
  constructor(problems: readonly string[]) {
    super(problems.join('\n'))
    this.name = 'BadInput'
    this.problems = problems
  }
}
