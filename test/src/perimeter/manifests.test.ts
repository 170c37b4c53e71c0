import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readManifests, readTexts } from '../../../src/perimeter/manifests.ts'
import { pod, policy, problemsIn, text } from './cluster.ts'

function read(yaml: string): ReturnType<typeof readManifests> {
  return readManifests([{ file: 'all.yaml', text: yaml }])
}

t.test('a file may hold several documents, comments and lists', async t => {
  const found = read(`# a comment
---
apiVersion: v1
kind: Pod
metadata: { name: one, namespace: shop }
---
# nothing but a comment
---
apiVersion: v1
kind: List
items:
  - { apiVersion: v1, kind: Pod, metadata: { name: two, namespace: shop } }
---
apiVersion: v1
kind: PodList
items:
  - metadata: { name: three, namespace: shop }
`)
  t.strictSame(
    found.pods.map(each => [each.name, each.at]),
    [
      ['one', 'all.yaml:3:1'],
      ['two', 'all.yaml:12:5'],
      ['three', 'all.yaml:17:5']
    ]
  )
})

t.test('the pods of every workload kind are read from its template', async t => {
  const template = {
    metadata: { labels: { app: 'a' } },
    spec: { containers: [{ ports: [{ containerPort: 80 }] }] }
  }
  const of = (apiVersion: string, kind: string, spec: unknown): Record<string, unknown> => ({
    apiVersion,
    kind,
    metadata: { name: kind.toLowerCase(), namespace: 'n' },
    spec
  })
  const found = read(
    text([
      of('apps/v1', 'Deployment', { template }),
      of('apps/v1', 'StatefulSet', { template }),
      of('apps/v1', 'DaemonSet', { template }),
      of('apps/v1', 'ReplicaSet', { template }),
      of('batch/v1', 'Job', { template }),
      of('batch/v1', 'CronJob', { jobTemplate: { spec: { template } } })
    ])
  )
  t.equal(found.pods.length, 6)
  for (const each of found.pods) {
    t.strictSame({ ...each.labels }, { app: 'a' }, each.kind)
    t.match(each.ports, [{ port: 80, protocol: 'TCP' }])
  }
})

t.test('kinds that say nothing about connections are passed over and counted', async t => {
  const found = read(
    'kind: ConfigMap\napiVersion: v1\n---\nkind: ConfigMap\napiVersion: v1\n---\nkind: Route\n'
  )
  t.strictSame(
    [...found.ignored],
    [
      ['ConfigMap', 2],
      ['Route', 1]
    ]
  )
})

t.test('every mistake is reported at its place, all at once', async t => {
  const problems = problemsIn(`apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: p, namespace: shop }
spec:
  ingress:
    - ports:
        - port: 70000
    - form: []
---
apiVersion: v1
kind: Pod
metadata:
  name: q
  labels: { live: on }
`)
  t.match(problems, [
    /^test\.yaml:7:17 {2}spec\.ingress\[0\]\.ports\[0\]\.port {2}must be between 1 and 65535/,
    /^test\.yaml:8:13 {2}spec\.ingress\[1\]\.form {2}unknown field/,
    /^test\.yaml:14:19 {2}metadata\.labels\.live {2}must be a string, is true \(quote it\)/
  ])
})

t.test('broken YAML, no Kubernetes object and old APIs are bad input', async t => {
  t.match(problemsIn('a: [1'), [/^test\.yaml:\d+:\d+ {2}/])
  t.match(problemsIn('a: 1'), [/^test\.yaml:1:1 {2}is no Kubernetes object/])
  t.match(problemsIn('kind: NetworkPolicy\napiVersion: extensions/v1beta1\nmetadata: { name: p }'), [/1\.16/])
  t.match(problemsIn('kind: NetworkPolicy\napiVersion: networking.k8s.io/v1\nspec: {}'), [
    /no metadata\.name/
  ])
})

t.test('a folder is read in name order, with its folders, and nothing but YAML and JSON of it', async t => {
  const folder = t.testdir({
    'b.yaml': text([pod('n', 'b')]),
    'a.json': text([pod('n', 'a')]),
    'notes.txt': 'not: [yaml',
    '.hidden': { 'x.yaml': 'not: [yaml' }
  })
  mkdirSync(join(folder, 'c'))
  writeFileSync(join(folder, 'c', 'c.yml'), text([pod('n', 'c')]))
  const found = readManifests(readTexts([folder]))
  t.strictSame(
    found.pods.map(each => each.name),
    ['a', 'b', 'c']
  )
})

t.test('- is standard input, and what is not there is bad input', async t => {
  const texts = readTexts(['-'], () => text([policy('n', 'p', {})]))
  t.match(readManifests(texts).policies, [{ name: 'p', at: /^<stdin>:1:\d+/ }])
  t.throws(() => readTexts(['/nowhere']), { name: 'BadInput', problems: [/^\/nowhere {2}cannot be read/] })
})

t.test('a bomb of aliases is bad input, and not the end of the process', async t => {
  const levels = Array.from(
    { length: 12 },
    (_, n) => `l${n + 1}: &l${n + 1} [${Array(10).fill(`*l${n}`).join(',')}]`
  )
  t.match(problemsIn(`l0: &l0 x\n${levels.join('\n')}`), [/^test\.yaml:1:1 {2}.*alias/i])
})
