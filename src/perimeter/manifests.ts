import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { LineCounter, parseAllDocuments } from 'yaml'
import { type Cursor, rootOf, type Source } from './cursor.ts'
import { BadInput, type Manifests, type Namespace, type Pod, type Policy, type Service } from './objects.ts'
import type { ContainerPort } from './ports.ts'
import { readAnnotations, readLabels } from './read-labels.ts'
import { readPolicy, readProtocol } from './read-policy.ts'
import { namespaceName, type Selector } from './selector.ts'

/** A text with the name it is cited by. */
export interface Text {
  file: string
  text: string
}

/** The files behind `--manifests`: a file, a folder with all that it holds in name order, or `-` for standard input. */
export function readTexts(paths: readonly string[], stdin: () => string = readStdin): Text[] {
  return paths.flatMap(path => {
    if (path === '-') return { file: '<stdin>', text: stdin() }
    try {
      return filesOf(path).map(file => ({ file, text: readFileSync(file, 'utf8') }))
    } catch (cause) {
      throw new BadInput([`${path}  cannot be read: ${cause instanceof Error ? cause.message : cause}`])
    }
  })
}

function readStdin(): string {
  return readFileSync(0, 'utf8')
}

function filesOf(path: string): string[] {
  if (!statSync(path).isDirectory()) return [path]
  return readdirSync(path, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap(entry => {
      const inside = join(path, entry.name)
      // A folder mounted from a ConfigMap holds symbolic links, so ask what they lead to.
      const isDirectory = entry.isSymbolicLink() ? statSync(inside).isDirectory() : entry.isDirectory()
      if (isDirectory) return entry.name.startsWith('.') ? [] : filesOf(inside)
      return /\.(ya?ml|json)$/.test(entry.name) ? [inside] : []
    })
}

/** Everything in the texts that decides about connections. Throws `BadInput` with all mistakes at once. */
export function readManifests(texts: readonly Text[]): Manifests {
  const found: Manifests = {
    pods: [],
    services: [],
    namespaces: [],
    policies: [],
    otherPolicies: [],
    ignored: new Map()
  }
  const problems: string[] = []
  for (const { file, text } of texts) readText(file, text, problems, found)
  found.policies = mergeTwins(found.policies, problems)
  found.namespaces = mergeTwins(found.namespaces, problems)
  if (problems.length > 0) throw new BadInput([...new Set(problems)])
  return found
}

function readText(file: string, text: string, problems: string[], found: Manifests): void {
  const lines = new LineCounter()
  // YAML 1.1, as kubectl and Helm read it: there an unquoted `on` is no string, and the API server refuses it as a label.
  const documents = parseAllDocuments(text, { lineCounter: lines, version: '1.1', merge: true })
  if (!Array.isArray(documents)) return
  for (const document of documents) {
    for (const error of document.errors) {
      const { line, col } = lines.linePos(error.pos[0])
      problems.push(`${file}:${line}:${col}  ${error.message.split('\n')[0]}`)
    }
    if (document.errors.length > 0) continue
    const source: Source = { file, document, lines, problems }
    const root = rootOf(source)
    if (root.isPresent) readObject(root, undefined, found)
  }
}

const workloads: Readonly<Record<string, string>> = {
  Deployment: 'apps/v1',
  StatefulSet: 'apps/v1',
  DaemonSet: 'apps/v1',
  ReplicaSet: 'apps/v1',
  Job: 'batch/v1',
  CronJob: 'batch/v1'
}

/** Kinds that can open or close connections behind NetworkPolicy's back. */
const otherPolicyKinds = new Set([
  'AdminNetworkPolicy',
  'BaselineAdminNetworkPolicy',
  'ClusterNetworkPolicy',
  'CiliumNetworkPolicy',
  'CiliumClusterwideNetworkPolicy',
  'GlobalNetworkPolicy',
  'StagedNetworkPolicy',
  'AntreaNetworkPolicy'
])

function readObject(at: Cursor, listed: string | undefined, found: Manifests): void {
  const kind = at.get('kind').string() ?? listed
  if (kind === undefined) {
    at.fail('is no Kubernetes object: it has no kind')
    return
  }
  const apiVersion = at.get('apiVersion').string()
  if (kind === 'List' || (kind.endsWith('List') && Array.isArray(at.get('items').value))) {
    for (const item of at.get('items').items()) readObject(item, kind.slice(0, -4) || undefined, found)
    return
  }
  if (kind === 'NetworkPolicy' && (apiVersion === undefined || apiVersion.startsWith('networking.k8s.io/'))) {
    if (apiVersion !== undefined && apiVersion !== 'networking.k8s.io/v1') {
      at.get('apiVersion').fail('must be networking.k8s.io/v1')
    }
    found.policies.push(readPolicy(at, namespaceOf(at), nameOf(at)))
  } else if (kind === 'NetworkPolicy' && apiVersion === 'extensions/v1beta1') {
    at.get('apiVersion').fail('is not served since Kubernetes 1.16: use networking.k8s.io/v1')
  } else if (kind === 'NetworkPolicy' || otherPolicyKinds.has(kind)) {
    found.otherPolicies.push({ kind: `${kind} (${apiVersion})`, name: nameOf(at), at: at.at })
  } else if (kind === 'Namespace' && (apiVersion ?? 'v1') === 'v1') {
    found.namespaces.push(readNamespace(at))
  } else if (kind === 'Service' && (apiVersion ?? 'v1') === 'v1') {
    found.services.push(readService(at))
  } else if (kind === 'Pod' && (apiVersion ?? 'v1') === 'v1') {
    found.pods.push(readPod(at, at, kind))
  } else if (workloads[kind] !== undefined && (apiVersion ?? workloads[kind]) === workloads[kind]) {
    const spec = kind === 'CronJob' ? at.get('spec').get('jobTemplate').get('spec') : at.get('spec')
    found.pods.push(readPod(at, spec.get('template'), kind))
  } else {
    found.ignored.set(kind, (found.ignored.get(kind) ?? 0) + 1)
  }
}

function nameOf(at: Cursor): string {
  const metadata = at.get('metadata')
  const name = metadata.get('name').string() ?? metadata.get('generateName').string()
  if (name === undefined) at.fail('has no metadata.name')
  return name ?? ''
}

function namespaceOf(at: Cursor): string {
  return at.get('metadata').get('namespace').string() || 'default'
}

function readNamespace(at: Cursor): Namespace {
  const name = nameOf(at)
  const labels = { ...readLabels(at.get('metadata').get('labels')), [namespaceName]: name }
  return { name, labels, at: at.at }
}

function readPod(at: Cursor, template: Cursor, kind: string): Pod {
  const spec = template.get('spec')
  const status = kind === 'Pod' ? at.get('status') : undefined
  const addresses = (status?.get('podIPs').items() ?? []).flatMap(item => item.get('ip').string() ?? [])
  const single = status?.get('podIP').string()
  const matchLabels = at.get('spec').get('selector').get('matchLabels')
  const expressions = at.get('spec').get('selector').get('matchExpressions')
  return {
    kind,
    namespace: namespaceOf(at),
    name: nameOf(at),
    labels: readLabels(template.get('metadata').get('labels')),
    ports: readContainerPorts(spec),
    hostNetwork: spec.get('hostNetwork').boolean(),
    addresses: addresses.length === 0 && single ? [single] : addresses,
    node: spec.get('nodeName').string() || undefined,
    owner: at
      .get('metadata')
      .get('ownerReferences')
      .items()
      .filter(item => item.get('controller').value === true)
      .map(item => `${item.get('kind').value}/${item.get('name').value}`)[0],
    selector: matchLabels.isPresent && expressions.items().length === 0 ? readLabels(matchLabels) : undefined,
    ownLabels: readLabels(at.get('metadata').get('labels')),
    annotations: readAnnotations(at.get('metadata').get('annotations')),
    at: at.at
  }
}

/** Names resolve over the containers and the sidecars, which are init containers that keep running (S15, S26). */
function readContainerPorts(spec: Cursor): ContainerPort[] {
  const sidecars = spec
    .get('initContainers')
    .items()
    .filter(item => item.get('restartPolicy').value === 'Always')
  return [...spec.get('containers').items(), ...sidecars].flatMap(container =>
    container
      .get('ports')
      .items()
      .flatMap(item => {
        const port = item.get('containerPort').integer()
        if (port === undefined) return []
        return { name: item.get('name').string(), port, protocol: readProtocol(item.get('protocol')) }
      })
  )
}

function readService(at: Cursor): Service {
  const spec = at.get('spec')
  const clusterIPs = spec.get('clusterIPs').strings()
  const clusterIP = spec.get('clusterIP').string()
  return {
    namespace: namespaceOf(at),
    name: nameOf(at),
    type: spec.get('type').string() ?? 'ClusterIP',
    selector: spec.get('selector').isPresent ? readLabels(spec.get('selector')) : undefined,
    ports: spec
      .get('ports')
      .items()
      .flatMap(item => {
        const port = item.get('port').integer()
        if (port === undefined) return []
        const target = item.get('targetPort').value
        return {
          port,
          protocol: readProtocol(item.get('protocol')),
          target: typeof target === 'string' || (typeof target === 'number' && target > 0) ? target : port,
          nodePort: item.get('nodePort').integer(),
          at: item.at
        }
      }),
    externalIPs: spec.get('externalIPs').strings(),
    clusterIPs: (clusterIPs.length > 0 ? clusterIPs : [clusterIP ?? '']).filter(
      ip => ip !== '' && ip !== 'None'
    ),
    at: at.at
  }
}

/** The same object twice (a chart and a live copy of it) is read once; two different ones under one name are a mistake. */
function mergeTwins<T extends Policy | Namespace>(objects: T[], problems: string[]): T[] {
  const seen = new Map<string, T>()
  for (const each of objects) {
    const name =
      'podSelector' in each ? `NetworkPolicy ${each.namespace}/${each.name}` : `Namespace ${each.name}`
    const twin = seen.get(name)
    if (twin === undefined) seen.set(name, each)
    else if (meaningOf(twin) !== meaningOf(each)) {
      problems.push(`${each.at}  ${name} is declared differently at ${twin.at}`)
    }
  }
  return [...seen.values()]
}

function meaningOf(object: Policy | Namespace): string {
  const compared =
    'podSelector' in object
      ? [object.podSelector, object.ingress, object.egress]
      : Object.entries(object.labels).sort()
  return JSON.stringify(compared, (key, value: unknown) => {
    if (key === 'at') return undefined
    if (value instanceof Set) return [...value].sort()
    if (typeof value === 'bigint') return String(value)
    // The API server returns labels in an order of its own.
    if (isSelector(value)) return value.toSorted((a, b) => Number(a.key > b.key) - Number(a.key < b.key))
    return value
  })
}

function isSelector(value: unknown): value is Selector {
  return Array.isArray(value) && value.length > 0 && value.every(each => 'domain' in Object(each))
}
