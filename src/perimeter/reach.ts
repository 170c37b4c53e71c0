import { parseAddress } from './addresses.ts'
import { parseLabels } from './gateway.ts'
import { readManifests, readTexts } from './manifests.ts'
import { type Cell, matrixOfWorkloads } from './matrix.ts'
import { BadInput, type Pod } from './objects.ts'
import { type Answer, type End, evaluate, podEnd, type Side, type Verdict } from './policy.ts'
import { type Protocol, protocols } from './ports.ts'
import { formatLabels } from './selector.ts'
import { type CommandResult, explainBadInput } from './verify.ts'
import { buildWorld, type World } from './world.ts'

export interface ReachArgs {
  manifests: readonly string[]
  /** `NAMESPACE/POD`, `NAMESPACE/WORKLOAD`, `NAMESPACE/KIND/WORKLOAD`, `NAMESPACE/key=value,…` or an address. */
  from?: string
  to?: string
  port?: number
  /** Default: TCP. */
  protocol?: Protocol
  /** Default: `text`. */
  format?: 'text' | 'json'
  /** Reads standard input; for tests. */
  stdin?: () => string
}

export const reachCodes: Readonly<Record<Verdict, number>> = { allowed: 0, denied: 1, 'cni-dependent': 2 }

/**
 * `sallyport reach`: may this connection be made, and which policy and rule says so at each end. Exit code 0 allowed, 1 denied,
 * 2 depends on the CNI, 3 bad input; the matrix of everything that is declared exits with 0.
 */
export async function runReach(args: ReachArgs): Promise<CommandResult> {
  try {
    const world = buildWorld(readManifests(readTexts(args.manifests, args.stdin)))
    if (args.from === undefined && args.to === undefined) {
      return { exitCode: 0, output: formatMatrix(matrixOfWorkloads(world), args.format) }
    }
    const { port, protocol } = checkPort(args)
    if (args.from === undefined || args.to === undefined) {
      throw new BadInput(['--from and --to belong together: give both, or neither for the whole matrix'])
    }
    const from = findEnd(world, args.from, '--from')
    const to = findEnd(world, args.to, '--to')
    const answer = evaluate(world, from, to, port, protocol)
    return { exitCode: reachCodes[answer.verdict], output: formatAnswer(answer, args, port, protocol) }
  } catch (cause) {
    return explainBadInput(cause)
  }
}

function checkPort({ port, protocol = 'TCP' }: ReachArgs): { port: number; protocol: Protocol } {
  if (port === undefined || !Number.isInteger(port) || port < 1 || port > 65535) {
    throw new BadInput(['--port must be between 1 and 65535'])
  }
  if (!protocols.includes(protocol)) throw new BadInput([`--protocol must be ${protocols.join(', ')}`])
  return { port, protocol }
}

function findEnd(world: World, text: string, option: string): End {
  const point = parseAddress(text)
  if (point !== undefined) return endOfAddress(world, text, point)
  const slash = text.indexOf('/')
  if (slash < 1 || slash === text.length - 1) {
    throw new BadInput([
      `${option} ${JSON.stringify(text)} must be NAMESPACE/POD, NAMESPACE/key=value,… or an address`
    ])
  }
  const namespace = text.slice(0, slash)
  const name = text.slice(slash + 1)
  if (!name.includes('=')) return podEnd(world, findPod(world, namespace, name, option))
  const labels = parseLabels(name)
  if (labels === undefined) throw new BadInput([`${option} ${JSON.stringify(name)} is no list of key=value`])
  return {
    kind: 'pod',
    namespace: world.namespace(namespace),
    name: `(${formatLabels(labels)})`,
    labels,
    pod: undefined
  }
}

/** The address of a declared pod is that pod; the address of a node is shared by its hostNetwork pods and stays an address. */
function endOfAddress(world: World, address: string, point: bigint): End {
  const has = (each: string): boolean => parseAddress(each) === point
  const pod = world.pods.find(each => !each.hostNetwork && each.addresses.some(has))
  if (pod !== undefined) return podEnd(world, pod)
  const isServiceAddress = world.services.some(each => each.clusterIPs.some(has))
  return { kind: 'address', address, point, isServiceAddress }
}

function findPod(world: World, namespace: string, name: string, option: string): Pod {
  const pods = world.podsOf(namespace)
  const [kind, rest] = name.includes('/') ? name.split('/') : [undefined, name]
  const found = pods.filter(
    pod => pod.name === rest && (kind === undefined || pod.kind.toLowerCase() === kind.toLowerCase())
  )
  if (found.length === 0) {
    const known = pods.map(pod => pod.name).join(', ') || 'no pods'
    throw new BadInput([
      `${option}: no pod or workload ${JSON.stringify(rest)} in namespace ${JSON.stringify(namespace)}, which has ${known}`
    ])
  }
  if (found.length > 1) {
    const choices = found.map(pod => `${namespace}/${pod.kind}/${pod.name}`).join(' or ')
    throw new BadInput([`${option}: ${namespace}/${name} could be ${choices}`])
  }
  return found[0]!
}

function formatAnswer(answer: Answer, args: ReachArgs, port: number, protocol: Protocol): string {
  if (args.format === 'json') return `${JSON.stringify(answer, null, 2)}\n`
  return [
    `${answer.verdict}: ${args.from} -> ${args.to} ${protocol} ${port}`,
    ...sideLines('egress', answer.egress),
    ...sideLines('ingress', answer.ingress),
    ...answer.why.split('; ').map(line => `  ${line}`),
    ''
  ].join('\n')
}

function sideLines(name: string, { verdict, policies }: Side): string[] {
  const rules = policies.map(each => {
    const rule = each.rule === null ? 'isolates, no rule matches' : `${name}[${each.rule}]`
    return `    ${each.policy}  ${rule}  ${each.at}`
  })
  return [`  ${name}: ${verdict}${policies.length === 0 ? ' (not isolated)' : ''}`, ...rules]
}

function formatMatrix(cells: readonly Cell[], format: ReachArgs['format']): string {
  if (format === 'json') {
    const matrix = cells.map(({ answer, ...connection }) => ({ ...connection, ...answer }))
    return `${JSON.stringify({ matrix }, null, 2)}\n`
  }
  const width = Math.max(0, ...cells.map(each => each.from.length))
  const widthTo = Math.max(0, ...cells.map(each => each.to.length))
  const lines = cells.map(
    each =>
      `${each.from.padEnd(width)}  ->  ${each.to.padEnd(widthTo)}  ${`${each.protocol} ${each.port}`.padEnd(10)}  ${each.answer.verdict}`
  )
  return `${lines.join('\n')}\n`
}
