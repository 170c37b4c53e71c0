import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { features, renderFile, valuesFolder } from './render.ts'
import { chart, needs, root, run } from './tools.ts'

t.test('Helm finds nothing to complain about', needs('helm4', 'helm3'), async t => {
  for (const helm of ['helm4', 'helm3']) {
    const { code, stdout, stderr } = await run(helm, ['lint', '--strict', chart])
    t.equal(code, 0, `${helm}: ${stdout}${stderr}`)
  }
})

t.test('every template does what its suite says', needs('helm-unittest'), async t => {
  const { code, stdout, stderr } = await run('helm-unittest', ['--strict', chart])
  t.equal(code, 0, `${stdout}${stderr}`)
  const suites = (await readdir(join(chart, 'tests'))).filter(name => name.endsWith('_test.yaml'))
  t.match(stdout, new RegExp(`Test Suites:\\s+${suites.length} passed`))
})

t.test('every template is named by a suite, a values file or the schema', async t => {
  const suites = (await readdir(join(chart, 'tests'))).filter(name => name.endsWith('_test.yaml'))
  const text = (await Promise.all(suites.map(name => readFile(join(chart, 'tests', name), 'utf8')))).join(
    '\n'
  )
  const templates = (await readdir(join(chart, 'templates'), { recursive: true })).filter(
    name => /\.(yaml|txt)$/.test(name) && name !== 'requirements.yaml'
  )
  for (const name of templates) t.match(text, `templates/${name}`, name)
})

/** Checks of kube-score that do not hold here, each with the reason. */
const exceptions: Record<string, string> = {
  'container-image-pull-policy':
    'tags are immutable and digests are offered: Always makes every start depend on the registry',
  'deployment-has-host-podantiaffinity': 'topologySpreadConstraints do it, over nodes and zones',
  'pod-networkpolicy':
    'the pods of helm test must be as free as any stranger: held back by a policy of their own they would prove nothing',
  'container-ephemeral-storage-request-and-limit':
    'the gateway writes no file, and a node that does not count this resource would never take the pods',
  'container-security-context-user-group-id': 'OpenShift chooses the user itself, and refuses pods that do',
  'networkpolicy-targets-pod': 'the protected pods are other releases; `sallyport verify` looks for them'
}

/** There is none by intent: throttling shows as latency of every route at once. */
const noCpuLimit = ['--ignore-container-cpu-limit']

t.test('kube-score has nothing critical but what we answer for', needs('kube-score', 'helm4'), async t => {
  const needed = new Set<string>()
  for (const name of features.filter(each => each !== 'placement')) {
    const { text } = await renderFile(join(valuesFolder, `${name}.yaml`))
    const { stdout } = await run(
      'kube-score',
      ['score', '--kubernetes-version', 'v1.29', '-o', 'json', ...noCpuLimit, '-'],
      text
    )
    for (const { object_name: object, checks } of JSON.parse(stdout) as Scored[]) {
      for (const { check, grade, skipped, comments } of checks) {
        if (skipped || grade > 5) continue
        needed.add(check.id)
        const isMeant = check.id !== 'pod-networkpolicy' || /-test-/.test(object)
        t.ok(isMeant && exceptions[check.id], `${name}: ${object}: ${check.id}: ${comments?.[0]?.summary}`)
      }
    }
  }
  t.strictSame([...needed].sort(), Object.keys(exceptions).sort(), 'no exception is out of use')
})

interface Scored {
  object_name: string
  checks: {
    check: { id: string }
    grade: number
    skipped: boolean
    comments: { summary: string }[] | null
  }[]
}

t.test('a packaged chart renders like the folder', needs('helm4', 'helm3'), async t => {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-package-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const args = ['--namespace', 'gateway', '--values', join(valuesFolder, 'several-upstreams.yaml')]
  for (const helm of ['helm4', 'helm3']) {
    const { code, stderr } = await run(helm, ['package', chart, '--destination', folder])
    t.equal(code, 0, stderr)
    const packed = await run(helm, ['template', 'gateway', join(folder, 'sallyport-0.1.0.tgz'), ...args])
    const loose = await run(helm, ['template', 'gateway', chart, ...args])
    t.equal(packed.stdout, loose.stdout, helm)
  }
})

t.test('hadolint has nothing to say about the Dockerfile', needs('hadolint'), async t => {
  const { code, stdout } = await run('hadolint', [join(root, 'Dockerfile')])
  t.equal(code, 0, stdout)
})

t.test('chart and package have one version', async t => {
  const { version, appVersion } = parse(await readFile(join(chart, 'Chart.yaml'), 'utf8'))
  const package_ = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
  t.equal(appVersion, package_.version)
  t.equal(version, package_.version)
  t.match(await readFile(join(root, 'Dockerfile'), 'utf8'), `ARG VERSION=${package_.version}\n`)
})

t.test('every alert has a runbook, and asks for metrics that exist', async t => {
  const rules = await readFile(join(chart, 'templates/prometheusrule.yaml'), 'utf8')
  const runbook = await readFile(join(root, 'docs/guide/alerts.md'), 'utf8')
  const metrics = await readFile(join(root, 'docs/reference/metrics.md'), 'utf8')
  const alerts = [...rules.matchAll(/alert: (\w+)/g)].map(found => found[1])
  t.equal(alerts.length, 6)
  for (const alert of alerts) t.match(runbook, `## ${alert}\n`)
  const dashboard = await readFile(join(chart, 'files/dashboard.json'), 'utf8')
  const asked = [...`${rules}${dashboard}`.matchAll(/sallyport_[a-z_]+/g)].map(([name]) =>
    name.replace(/_(bucket|sum|count)$/, '')
  )
  for (const name of new Set(asked)) t.match(metrics, `\`${name}\``)
})
