import { parseAddress } from '../../../src/perimeter/addresses.ts'
import { findGateway } from '../../../src/perimeter/gateway.ts'
import { readManifests } from '../../../src/perimeter/manifests.ts'
import { BadInput } from '../../../src/perimeter/objects.ts'
import { type Answer, type End, evaluate, podEnd } from '../../../src/perimeter/policy.ts'
import type { Protocol } from '../../../src/perimeter/ports.ts'
import { buildCase, type Proof, prove } from '../../../src/perimeter/prove.ts'
import { upstreamsOf } from '../../../src/perimeter/upstreams.ts'
import { buildWorld, type World } from '../../../src/perimeter/world.ts'

/** A plain object of Kubernetes; the tests say only what matters to them. */
export type Manifest = Record<string, unknown>

export function pod(
  namespace: string,
  name: string,
  labels: Record<string, string> = {},
  spec: Manifest = {}
): Manifest {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace, name, labels },
    spec: { containers: [], ...spec }
  }
}

export function namespace(name: string, labels: Record<string, string> = {}): Manifest {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } }
}

export function policy(namespace: string, name: string, spec: Manifest | null): Manifest {
  return { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { namespace, name }, spec }
}

export function text(manifests: readonly Manifest[]): string {
  return JSON.stringify({ apiVersion: 'v1', kind: 'List', items: manifests })
}

export function worldOf(...manifests: Manifest[]): World {
  return buildWorld(readManifests([{ file: 'test.json', text: text(manifests) }]))
}

/** `namespace/name` of a declared pod, or an address. */
export function end(world: World, name: string): End {
  const point = parseAddress(name)
  if (point !== undefined) return { kind: 'address', address: name, point }
  const found = world.pods.find(each => `${each.namespace}/${each.name}` === name)
  if (found === undefined) throw new Error(`no pod ${name}`)
  return podEnd(world, found)
}

export function answer(
  world: World,
  from: string,
  to: string,
  port: number,
  protocol: Protocol = 'TCP'
): Answer {
  return evaluate(world, end(world, from), end(world, to), port, protocol)
}

/** What the reader has to say about the manifests; empty when they are fine. */
export function problemsOf(...manifests: Manifest[]): string[] {
  return problemsIn(text(manifests))
}

export function problemsIn(yaml: string): string[] {
  try {
    readManifests([{ file: 'test.yaml', text: yaml }])
    return []
  } catch (cause) {
    if (cause instanceof BadInput) return [...cause.problems]
    throw cause
  }
}

/** The proof for one upstream, `u`; `gateway` is `NAMESPACE/key=value,…`. */
export function proofOf(
  manifests: readonly Manifest[],
  gateway: string | undefined,
  kubernetes: { namespace: string; podSelector: Record<string, string>; port: number }
): Proof {
  const read = readManifests([{ file: 'test.json', text: text(manifests) }])
  const upstreams = upstreamsOf({ upstreams: { u: { kubernetes } } }, 'gateway.yaml')
  return prove(buildCase(read, upstreams, findGateway(read, gateway)))
}
