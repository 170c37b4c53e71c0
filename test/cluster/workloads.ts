import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { SignJWT } from 'jose'
import { makeKey, type TestEnd } from '../fixtures/issuer.ts'
import { type Client, kubectl, programOf } from './cluster.ts'

/** Every pod runs the gateway's own image, because it has Node: one image is all that the suite asks of a cluster. */
const image = 'sallyport:0.1.0'

/** A namespace is ours, to be deleted, when it has this label. */
const ours = 'sallyport.io/cluster-test'

/** A port that no pod listens on: it is closed by policies, or answers that nobody is there. */
export const silentPort = 7777

interface Workload {
  labels: Record<string, string>
  ports: number[]
  /** Service by the name of the pod: port 80, or 443 of an issuer, to the first of the ports. */
  hasService?: boolean
}

const gatewayLabels = {
  'app.kubernetes.io/name': 'sallyport',
  'app.kubernetes.io/instance': 'gateway',
  'app.kubernetes.io/component': 'gateway'
}

const workloads: Record<string, Record<string, Workload>> = {
  gateway: { 'passer-by': { labels: { app: 'passer-by' }, ports: [8080] } },
  frontend: {
    web: { labels: { app: 'web' }, ports: [8080, 9100], hasService: true },
    neighbour: { labels: { app: 'neighbour' }, ports: [8080] }
  },
  backend: {
    api: { labels: { app: 'api' }, ports: [8080, 9100], hasService: true },
    neighbour: { labels: { app: 'neighbour' }, ports: [8080] }
  },
  elsewhere: {
    stranger: { labels: { app: 'stranger' }, ports: [8080] },
    impostor: { labels: gatewayLabels, ports: [8080] }
  },
  monitoring: { prometheus: { labels: { app: 'prometheus' }, ports: [8080] } },
  identity: { issuer: { labels: { app: 'issuer' }, ports: [8443], hasService: true } }
}

/** The namespaces that the suite makes; `plain` is for a release that has nothing to protect. */
export const namespaces = [...Object.keys(workloads), 'plain']

export const stranger = { namespace: 'elsewhere', name: 'stranger' } satisfies Client
export const prometheus = { namespace: 'monitoring', name: 'prometheus' } satisfies Client

export interface Issuer {
  token(claims?: Record<string, unknown>): Promise<string>
}

/** Clears the namespaces now, and with the test, unless the cluster ends with it anyway. */
export async function useNamespaces(t: TestEnd): Promise<void> {
  await clearNamespaces()
  if (process.env.SALLYPORT_KEEP_NAMESPACES !== '1') t.teardown(clearNamespaces)
}

/** Makes every namespace and pod, and waits until all are ready. */
export async function deployWorkloads(): Promise<Issuer> {
  const issuer = await makeIssuer()
  const objects = Object.entries(workloads).flatMap(([namespace, pods]) =>
    Object.entries(pods).flatMap(([name, workload]) => podOf(namespace, name, workload, issuer))
  )
  const ca = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'issuer', namespace: 'gateway' } }
  const items = [
    ...namespaces.map(namespaceOf),
    { ...ca, data: { 'ca.crt': issuer.certificate } },
    ...objects
  ]
  await kubectl(['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items }))
  await Promise.all(
    Object.keys(workloads).map(name => kubectl(['wait', '-n', name, '--for=condition=Ready', 'pod', '--all']))
  )
  return issuer
}

/**
 * Deletes what an earlier run has left. Refuses a cluster in which a namespace of such a name belongs to somebody else: the suite
 * would put its policies there, and delete it.
 */
async function clearNamespaces(): Promise<void> {
  const found = JSON.parse(await kubectl(['get', 'namespaces', '-o', 'json'])) as {
    items: { metadata: { name: string; labels?: Record<string, string> } }[]
  }
  const taken = found.items.filter(({ metadata }) => namespaces.includes(metadata.name))
  const foreign = taken.filter(({ metadata }) => metadata.labels?.[ours] === undefined)
  if (foreign.length > 0) {
    const names = foreign.map(({ metadata }) => metadata.name).join(', ')
    throw new Error(`the cluster has namespaces that are not this suite's: ${names}`)
  }
  if (taken.length > 0) await kubectl(['delete', 'namespace', '-l', ours, '--wait', '--timeout=120s'])
}

function namespaceOf(name: string) {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels: { [ours]: 'true' } } }
}

function podOf(
  namespace: string,
  name: string,
  { labels, ports, hasService }: Workload,
  issuer: Keys
): object[] {
  const isIssuer = name === 'issuer'
  const secrets = isIssuer ? { JWKS: issuer.jwks, TLS_CERT: issuer.certificate, TLS_KEY: issuer.key } : {}
  const environment = { NAME: name, PORTS: ports.join(), ...secrets }
  const container = {
    name: 'serve',
    image,
    command: ['node', '--input-type=module', '--eval', programOf('serve')],
    env: Object.entries(environment).map(([key, value]) => ({ name: key, value })),
    ports: ports.map(containerPort => ({ containerPort })),
    readinessProbe: { tcpSocket: { port: ports[0] }, periodSeconds: 1 }
  }
  const metadata = { name, namespace }
  const spec = { containers: [container], automountServiceAccountToken: false }
  const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { ...metadata, labels }, spec }
  if (!hasService) return [pod]
  const port = { port: isIssuer ? 443 : 80, targetPort: ports[0] }
  return [pod, { apiVersion: 'v1', kind: 'Service', metadata, spec: { selector: labels, ports: [port] } }]
}

interface Keys extends Issuer {
  jwks: string
  certificate: string
  key: string
}

async function makeIssuer(): Promise<Keys> {
  const signing = makeKey('ES256', 'cluster')
  const name = 'issuer.identity.svc.cluster.local'
  return {
    jwks: JSON.stringify({ keys: [signing.jwk] }),
    ...(await makeCertificate(name)),
    token(claims = {}) {
      return new SignJWT({ aud: 'orders-api', ...claims })
        .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: 'cluster' })
        .setIssuer(`https://${name}`)
        .setSubject('alice')
        .setIssuedAt()
        .setExpirationTime('10m')
        .sign(signing.privateKey)
    }
  }
}

async function makeCertificate(name: string): Promise<{ certificate: string; key: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-cluster-'))
  const [cert, key] = [join(folder, 'tls.crt'), join(folder, 'tls.key')]
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
  const named = ['-subj', '/CN=issuer', '-addext', `subjectAltName=DNS:${name}`]
  try {
    await promisify(execFile)('openssl', ['req', '-x509', ...curve, ...named, '-keyout', key, '-out', cert])
    return { certificate: await readFile(cert, 'utf8'), key: await readFile(key, 'utf8') }
  } finally {
    await rm(folder, { recursive: true })
  }
}
