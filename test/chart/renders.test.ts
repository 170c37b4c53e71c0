import { generateKeyPairSync } from 'node:crypto'
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { builtins } from '../../plugins/index.ts'
import { loadConfig } from '../../src/config/load.ts'
import { runVerify } from '../../src/perimeter/verify.ts'
import { loadPlugins } from '../../src/plugin/load.ts'
import { authority } from '../fixtures/certificates.ts'
import { features, type Manifest, type Render, renderFile, renderValues, valuesFolder } from './render.ts'
import { needs, run } from './tools.ts'

/** Kinds of operators and add-ons: there is no schema of them in the Kubernetes API itself. */
const foreignKinds = /^(monitoring\.coreos\.com|gateway\.networking\.k8s\.io)\//

t.test('every values file below examples/values', needs('helm4'), async t => {
  const renders = new Map<string, Render>()
  for (const name of features) renders.set(name, await renderFile(join(valuesFolder, `${name}.yaml`)))

  t.test('renders what it did before', async t => {
    for (const [name, { text }] of renders) {
      const path = join(import.meta.dirname, '../golden/chart', `${name}.yaml`)
      if (process.env.UPDATE_GOLDEN === '1') await writeFile(path, text)
      t.equal(text, await readFile(path, 'utf8'), `${name}: UPDATE_GOLDEN=1 writes a changed render`)
    }
  })

  t.test('gives the gateway a configuration that it accepts', async t => {
    for (const [name, render] of renders) {
      t.equal(await judge(t, render), '', name)
    }
  })

  t.test('puts every object into a namespace of its own accord', async t => {
    for (const [name, { objects }] of renders) {
      const without = objects.filter(
        each => each.metadata.namespace === undefined && !/beside|templated/.test(each.metadata.name)
      )
      t.strictSame(
        without.map(each => each.metadata.name),
        [],
        name
      )
    }
  })

  t.test('names no object twice', async t => {
    for (const [name, { objects }] of renders) {
      const names = objects.map(({ kind, metadata }) => `${kind} ${metadata.namespace}/${metadata.name}`)
      t.equal(new Set(names).size, names.length, name)
    }
  })

  t.test('renders the same with Helm 3', needs('helm3'), async t => {
    for (const [name, { text }] of renders) {
      t.equal((await renderFile(join(valuesFolder, `${name}.yaml`), 'helm3')).text, text, name)
    }
  })

  t.test(
    'is what the Kubernetes API takes, from the oldest version on',
    needs('kubernetes-validate'),
    async t => {
      const own = [...renders.values()].flatMap(render =>
        render.objects.filter(each => !foreignKinds.test(each.apiVersion))
      )
      const input = own.map(each => JSON.stringify(each)).join('\n---\n')
      for (const version of ['1.29', '1.37']) {
        const { code, stdout, stderr } = await run(
          'kubernetes-validate',
          ['--strict', '--quiet', '-k', version, '-'],
          input
        )
        t.equal(code, 0, `Kubernetes ${version}: ${stdout}${stderr}`)
      }
    }
  )

  t.test('closes what it says it closes', async t => {
    for (const [name, { text, config }] of renders) {
      const result = await runVerify({ config: parse(config), manifests: ['-'], stdin: () => text })
      const expected = config.includes('kubernetes:')
        ? /^PROVEN|proven/i
        : /no upstream of the configuration has a kubernetes block/
      t.match(result.output, expected, name)
      t.equal(result.exitCode, config.includes('kubernetes:') ? 0 : 2, `${name}: ${result.output}`)
    }
  })
})

t.test('no values at all', needs('helm4'), async t => {
  const render = await renderFile(undefined)

  t.test('are a gateway that starts', async t => {
    t.equal(await judge(t, render), '')
    t.match(parse(render.config).listeners, {
      http: { host: '0.0.0.0', port: 8080 },
      admin: { host: '0.0.0.0', port: 9090 }
    })
  })

  t.test('protect nothing yet, and say so', async t => {
    t.strictSame(
      render.objects.filter(each => each.kind === 'NetworkPolicy').map(each => each.metadata.namespace),
      ['gateway']
    )
  })
})

t.test('text that YAML could misread reaches the gateway as text', needs('helm4'), async t => {
  const headers = {
    a: 'yes',
    b: '2',
    c: '0x10',
    d: '1e3',
    e: '2024-01-01',
    f: '"quoted" \\ # no comment',
    g: 'null',
    h: '~',
    i: ' leading and trailing ',
    j: 'ü – 日本',
    k: '{{ .Release.Name }}',
    l: '1_000',
    m: '12:30:45'
  }
  const config = {
    upstreams: { a: { url: 'http://192.0.2.1:1' } },
    routes: { a: { match: { path: '/a', headers }, public: true, upstream: 'a' } }
  }
  const render = await renderValues({ config })
  t.strictSame(parse(render.config).routes.a.match.headers, headers)
})

/** What the gateway says about the configuration and the plugins of a render; nothing when it would start. */
async function judge(t: Test, { config, objects }: Render): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-chart-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const plugins = objects.find(each => each.kind === 'ConfigMap' && each.metadata.name.endsWith('-plugins'))
  for (const part of ['config', 'plugins']) await mkdir(join(folder, part))
  const mounted = await mountSecrets(t, folder, objects)
  await writeFile(join(folder, 'config/gateway.yaml'), mounted.inPlace(config))
  for (const [name, text] of Object.entries(plugins?.data ?? {}))
    await writeFile(join(folder, 'plugins', name), text)
  try {
    const known = await loadPlugins(builtins, join(folder, 'plugins'))
    await loadConfig(join(folder, 'config'), { plugins: known, env: mounted.env })
    return ''
  } catch (error) {
    return (error as Error).message
  }
}

/** Secrets as the pods would find them: every variable, and every file of the formats that the gateway reads. */
async function mountSecrets(
  t: Test,
  folder: string,
  objects: Manifest[]
): Promise<{ env: Record<string, string>; inPlace(config: string): string }> {
  const { spec } = objects.find(each => each.kind === 'Deployment') as unknown as GatewayDeployment
  const [{ env, volumeMounts }] = spec.template.spec.containers
  const secrets = env.filter(each => each.valueFrom?.secretKeyRef !== undefined)
  const folders = volumeMounts.filter(each => each.name.startsWith('file-')).map(each => each.mountPath)
  for (const each of folders) {
    await mkdir(join(folder, each), { recursive: true })
    await copyFile((await authority(t)).certPath, join(folder, each, 'ca.crt'))
    await writeFile(join(folder, each, 'key.pem'), signingKey)
  }
  return {
    // Long enough for a secret, and a URL where one is wanted.
    env: Object.fromEntries(secrets.map(({ name }) => [name, 'redis://redis.data.svc.cluster.local:6379'])),
    inPlace: config => folders.reduce((text, each) => text.replaceAll(each, join(folder, each)), config)
  }
}

const signingKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({
  type: 'pkcs8',
  format: 'pem'
})

interface GatewayDeployment {
  spec: {
    template: {
      spec: {
        containers: [
          {
            env: { name: string; valueFrom?: { secretKeyRef?: object } }[]
            volumeMounts: { name: string; mountPath: string }[]
          }
        ]
      }
    }
  }
}

type Test = { teardown(close: () => unknown): void }
