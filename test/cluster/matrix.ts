import { parseAddress } from '../../src/perimeter/addresses.ts'
import { readManifests, type Text } from '../../src/perimeter/manifests.ts'
import type { Pod, Service } from '../../src/perimeter/objects.ts'
import { type End, evaluate, podEnd } from '../../src/perimeter/policy.ts'
import { buildWorld, podName, type World } from '../../src/perimeter/world.ts'
import { type Client, connect, hasOutside } from './cluster.ts'
import { namespaces, silentPort } from './workloads.ts'

/** One attempt to connect: what `sallyport reach` says about it, and what happened. */
export interface Cell {
  from: string
  to: string
  predicted: string
  seen: string
}

interface Target {
  name: string
  address: string
  port: number
  /** The pods that may answer, and their port. */
  pods: readonly Pod[]
  podPort: number
}

/** How many clients try at once: each is a Node of its own, and all of them share the machine with the cluster. */
const width = 4

/**
 * Every pod of the suite, and the client outside, against every port of every pod, a port where nobody listens, and every Service.
 * Policies take a moment to be in force and nothing says when: it tries until one whole pass agrees, for 40 seconds at the most.
 *
 * @param texts the manifests: what Helm renders, and what runs
 * @returns the last pass
 */
export async function tryEveryPair(texts: readonly Text[]): Promise<Cell[]> {
  const world = buildWorld(readManifests(texts))
  const pods = namespaces.flatMap(name => world.podsOf(name)).filter(pod => pod.addresses.length > 0)
  const targets = [...pods.flatMap(targetsOfPod), ...targetsOfServices(world, pods)]
  const clients: (Pod | 'outside')[] = hasOutside ? [...pods, 'outside'] : pods
  const deadline = Date.now() + 40_000
  for (;;) {
    const cells = (await mapWide(clients, client => tryAll(world, client, targets))).flat()
    if (cells.every(agrees) || Date.now() > deadline) return cells
  }
}

export function agrees({ predicted, seen }: Cell): boolean {
  return predicted === seen
}

/** A person reads it: the cells in which the prediction was wrong. */
export function disagreements(cells: readonly Cell[]): string[] {
  return cells
    .filter(cell => !agrees(cell))
    .map(({ from, to, predicted, seen }) => `${from} -> ${to}: predicted ${predicted}, seen ${seen}`)
}

function targetsOfPod(pod: Pod): Target[] {
  const [address] = pod.addresses
  return [...pod.ports.map(({ port }) => port), silentPort].map(port => ({
    name: `${podName(pod)}:${port}`,
    address: address!,
    port,
    pods: [pod],
    podPort: port
  }))
}

function targetsOfServices(world: World, pods: readonly Pod[]): Target[] {
  const isOurs = ({ namespace, selector }: Service): boolean =>
    namespaces.includes(namespace) && selector !== undefined
  return world.services.filter(isOurs).flatMap(service => {
    // The rendered copy of a Service has no address yet.
    const [address] = service.clusterIPs
    if (address === undefined) return []
    const chosen = pods.filter(pod => isChosen(service, pod))
    return service.ports.map(({ port, target }) => ({
      name: `Service ${service.namespace}/${service.name}:${port}`,
      address,
      port,
      pods: chosen,
      podPort: portOf(chosen[0], target)
    }))
  })
}

function isChosen({ namespace, selector = {} }: Service, pod: Pod): boolean {
  return (
    pod.namespace === namespace && Object.entries(selector).every(([key, value]) => pod.labels[key] === value)
  )
}

function portOf(pod: Pod | undefined, target: number | string): number {
  const found = typeof target === 'number' ? target : pod?.ports.find(each => each.name === target)?.port
  if (found === undefined) throw new Error(`no pod has a port ${target}`)
  return found
}

async function tryAll(world: World, client: Pod | 'outside', targets: readonly Target[]): Promise<Cell[]> {
  const tried = targets.filter(target => isSettled(client, target))
  const from: Client = client === 'outside' ? client : { namespace: client.namespace, name: client.name }
  const seen = await connect(
    from,
    tried.map(({ address, port }) => [address, port] as const)
  )
  const end = client === 'outside' ? outsideEnd() : podEnd(world, client)
  return tried.map((target, index) => ({
    from: client === 'outside' ? client : podName(client),
    to: target.name,
    predicted: predict(world, end, target),
    seen: seen[index]!
  }))
}

/** Left out: a pod that may get back to itself by a Service (S22), and Services from outside, where nothing leads to them. */
function isSettled(client: Pod | 'outside', { name, pods }: Target): boolean {
  if (!name.startsWith('Service ')) return true
  return client !== 'outside' && !pods.includes(client)
}

function predict(world: World, from: End, { pods, podPort }: Target): string {
  const verdicts = new Set(pods.map(to => evaluate(world, from, podEnd(world, to), podPort, 'TCP').verdict))
  const [verdict, second] = verdicts
  if (verdict === undefined || second !== undefined) throw new Error('the pods behind a Service differ')
  if (verdict === 'denied') return 'dropped'
  if (verdict === 'cni-dependent') return 'anything'
  return podPort === silentPort ? 'refused' : 'open'
}

/** No policy of the suite names an address, so any address outside of the cluster stands for all of them. */
function outsideEnd(): End {
  const address = '192.0.2.1'
  return { kind: 'address', address, point: parseAddress(address)! }
}

async function mapWide<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  const rest = items.entries()
  const worker = async (): Promise<void> => {
    for (const [index, item] of rest) results[index] = await work(item)
  }
  await Promise.all(Array.from({ length: width }, worker))
  return results
}
