import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseAllDocuments } from 'yaml'
import type { Text } from '../../src/perimeter/manifests.ts'
import { run } from '../fixtures/program.ts'
import { helm, kubectl } from './cluster.ts'
import { namespaces } from './workloads.ts'

const fileOf = (path: string): string => fileURLToPath(new URL(path, import.meta.url))

export const chart = fileOf('../../helm/sallyport')
const textbook = fileOf('../../examples/values/textbook.yaml')

/** Options of Helm for the release of the suite, with more values files of this folder. */
export function valuesOf(...more: string[]): string[] {
  return [textbook, ...['values.yaml', ...more].map(fileOf)].flatMap(file => ['-f', file])
}

/** Where the release is called by name. */
export const service = 'gateway-sallyport.gateway.svc.cluster.local'
export const adminService = 'gateway-sallyport-admin.gateway.svc.cluster.local'

const selector = 'app.kubernetes.io/name=sallyport,app.kubernetes.io/component=gateway'

export interface GatewayPod {
  name: string
  address: string
  restarts: number
}

/** The gateway's pods that are there to stay, by name. */
export async function gatewayPods(): Promise<GatewayPod[]> {
  const { items } = JSON.parse(
    await kubectl(['get', 'pods', '-n', 'gateway', '-l', selector, '-o', 'json'])
  ) as {
    items: {
      metadata: { name: string; deletionTimestamp?: string }
      status: { podIP: string; containerStatuses: { restartCount: number }[] }
    }[]
  }
  return items
    .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
    .map(({ metadata, status }) => ({
      name: metadata.name,
      address: status.podIP,
      restarts: status.containerStatuses.reduce((sum, { restartCount }) => sum + restartCount, 0)
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** What Helm renders with these options. */
export async function renderRelease(options: readonly string[]): Promise<Text> {
  return {
    file: 'rendered.yaml',
    text: await helm('template', 'gateway', chart, '-n', 'gateway', ...options)
  }
}

/** What runs in the namespaces of the suite. Pods that have ended or are about to are no part of it: they hold no connection. */
export async function readLive(kinds: string): Promise<Text> {
  const list = JSON.parse(await kubectl(['get', kinds, '-A', '-o', 'json'])) as {
    items: {
      kind: string
      metadata: { name: string; namespace?: string; deletionTimestamp?: string }
      status?: { phase?: string }
    }[]
  }
  const items = list.items.filter(
    ({ kind, metadata, status }) =>
      namespaces.includes(metadata.namespace ?? metadata.name) &&
      (kind !== 'Pod' || (metadata.deletionTimestamp === undefined && status?.phase === 'Running'))
  )
  return { file: 'live.json', text: JSON.stringify({ ...list, items }) }
}

export interface Report {
  verdict: string
  upstreams: { name: string; verdict: string; counterexamples: unknown[] }[]
  findings: { code: string; text: string }[]
}

/** `sallyport verify`, as a user calls it. The configuration is the one that is rendered. */
export async function verify(rendered: Text, ...more: Text[]): Promise<Report> {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-verify-'))
  try {
    const texts = [rendered, ...more]
    for (const { file, text } of texts) await writeFile(join(folder, file), text)
    const config = join(folder, 'gateway.yaml')
    await writeFile(config, configOf(rendered))
    const manifests = texts.flatMap(({ file }) => ['--manifests', join(folder, file)])
    const { stdout, stderr } = await run(['verify', '--config', config, ...manifests, '--format', 'json'])
    if (stderr !== '') throw new Error(stderr)
    return JSON.parse(stdout)
  } finally {
    await rm(folder, { recursive: true })
  }
}

function configOf({ text }: Text): string {
  for (const document of parseAllDocuments(text)) {
    const { kind, data } = (document.toJS() ?? {}) as { kind?: string; data?: Record<string, string> }
    if (kind === 'ConfigMap' && data?.['gateway.yaml'] !== undefined) return data['gateway.yaml']
  }
  throw new Error('no ConfigMap has a gateway.yaml')
}
