import type { Manifests, Namespace, Pod, Policy } from './objects.ts'
import { type Labels, matches, namespaceName } from './selector.ts'

/** The manifests, indexed by namespace. */
export interface World extends Manifests {
  namespace(name: string): Namespace
  /** Namespaces with an object, and those that something else names. */
  known: ReadonlyMap<string, Namespace>
  policiesOf(namespace: string): readonly Policy[]
  podsOf(namespace: string): readonly Pod[]
  /** The policies that select the pod. Policies of other namespaces never do (S25). */
  selecting(pod: Pick<Pod, 'namespace' | 'labels'>): readonly Policy[]
  /** Workloads, and pods that none of the given workloads made: what a person would list. */
  workloads: readonly Pod[]
}

/** `named`: namespaces that the configuration speaks of. Without an object a namespace has only its name as label (S27). */
export function buildWorld(manifests: Manifests, named: readonly string[] = []): World {
  const known = new Map<string, Namespace>()
  for (const each of manifests.namespaces) known.set(each.name, each)
  const policies = groupBy(manifests.policies)
  const pods = groupBy(manifests.pods)
  const namespace = (name: string): Namespace => {
    let found = known.get(name)
    if (found === undefined) {
      found = { name, labels: { [namespaceName]: name }, at: undefined }
      known.set(name, found)
    }
    return found
  }
  for (const name of [...named, ...policies.keys(), ...pods.keys()]) namespace(name)
  for (const { namespace: name } of manifests.services) namespace(name)
  const policiesOf = (name: string): readonly Policy[] => policies.get(name) ?? []
  // The matrix asks about the same few pods again and again.
  const selected = new Map<string, WeakMap<Labels, readonly Policy[]>>()
  const selecting = (pod: Pick<Pod, 'namespace' | 'labels'>): readonly Policy[] => {
    let here = selected.get(pod.namespace)
    if (here === undefined) {
      here = new WeakMap()
      selected.set(pod.namespace, here)
    }
    let found = here.get(pod.labels)
    if (found === undefined) {
      found = policiesOf(pod.namespace).filter(policy => matches(policy.podSelector, pod.labels))
      here.set(pod.labels, found)
    }
    return found
  }
  return {
    ...manifests,
    namespace,
    known,
    policiesOf,
    podsOf: name => pods.get(name) ?? [],
    selecting,
    workloads: withoutOffspring(manifests.pods)
  }
}

function groupBy<T extends { namespace: string }>(objects: readonly T[]): Map<string, T[]> {
  return Map.groupBy(objects, each => each.namespace)
}

function withoutOffspring(pods: readonly Pod[]): Pod[] {
  const made = new Set(pods.map(pod => `${pod.namespace} ${pod.kind}/${pod.name}`))
  return pods.filter(pod => pod.owner === undefined || !made.has(`${pod.namespace} ${pod.owner}`))
}

export function podName(pod: Pick<Pod, 'namespace' | 'name'>): string {
  return `${pod.namespace}/${pod.name}`
}

export function policyName(policy: Policy): string {
  return `${policy.namespace}/${policy.name}`
}
