import t from 'tap'
import { connect, helm, helmTest, kubectl, needsCluster } from './cluster.ts'
import { chart, valuesOf } from './release.ts'
import { deployWorkloads, stranger, useNamespaces } from './workloads.ts'

t.test('a cluster that accepts NetworkPolicies and ignores them', needsCluster(), async t => {
  t.setTimeout(300_000)
  await useNamespaces(t)
  await deployWorkloads()
  // An open door counts when it stays open for three of these seconds.
  const timeout = ['--set', 'tests.timeoutSeconds=1']
  await helm('install', 'gateway', chart, '-n', 'gateway', '--wait', ...valuesOf(), ...timeout)

  const web = await kubectl(['get', 'pod', '-n', 'frontend', 'web', '-o', 'jsonpath={.status.podIP}'])
  t.strictSame(await connect(stranger, [[web, 8080]]), ['open'], 'anybody walks around the gateway')
  const { passed, text } = await helmTest('gateway', 'gateway')
  t.notOk(passed, 'helm test fails')
  t.match(text, 'FAILED: this pod is not the gateway, and yet it reached the admin port, upstream web.')
  t.match(text, 'The network plugin does not enforce NetworkPolicies')
})
