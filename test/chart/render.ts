import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'
import { chart, root, run } from './tools.ts'

/** A Kubernetes object, as far as tests look into it. */
export interface Manifest {
  apiVersion: string
  kind: string
  metadata: {
    name: string
    namespace?: string
    labels?: Record<string, string>
    annotations?: Record<string, string>
  }
  data?: Record<string, string>
  spec?: unknown
}

export interface Render {
  text: string
  objects: Manifest[]
  /** What the gateway would read as its configuration. */
  config: string
}

export const valuesFolder = join(root, 'examples/values')

/** Names of the files below examples/values/, without their ending. */
export const features: readonly string[] = readdirSync(valuesFolder)
  .filter(name => name.endsWith('.yaml'))
  .map(name => name.slice(0, -'.yaml'.length))

export type Helm = 'helm3' | 'helm4'

/** `helm template` as release `gateway` in namespace `gateway`. Rejects with what Helm says. */
export async function renderFile(path: string | undefined, helm: Helm = 'helm4'): Promise<Render> {
  return rendered(await run(helm, template(path ?? '-'), path === undefined ? '{}' : undefined))
}

/** The same from values that stand in the test. */
export async function renderValues(values: object | string, helm: Helm = 'helm4'): Promise<Render> {
  const text = typeof values === 'string' ? values : JSON.stringify(values)
  return rendered(await run(helm, template('-'), text))
}

function template(values: string): string[] {
  return ['template', 'gateway', chart, '--namespace', 'gateway', '--values', values]
}

function rendered({ code, stdout, stderr }: Awaited<ReturnType<typeof run>>): Render {
  if (code !== 0) throw new Error(stderr)
  // Helm 3 ends a document one line break earlier than Helm 4.
  const text = stdout.replace(/\n+---\n/g, '\n---\n').trim()
  const objects = parseAllDocuments(text).flatMap(document => (document.toJS() ?? []) as Manifest[])
  const config = objects.find(each => each.data?.['gateway.yaml'] !== undefined)?.data?.['gateway.yaml'] ?? ''
  return { text: `${text}\n`, objects, config }
}

/** What Helm says about values that it refuses: its lines in a steady order, without the head. */
export async function complaints(values: object | string, helm: Helm = 'helm4'): Promise<string[]> {
  try {
    await renderValues(values, helm)
  } catch (error) {
    return (error as Error).message
      .split('\n')
      .map(line => line.trim())
      .filter(line => !/^(Error: (values|execution)|sallyport:|Use --debug|$)/.test(line))
      .sort()
  }
  return []
}
