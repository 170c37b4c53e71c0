import t from 'tap'
import { hasOutside, helm, helmTest, kubectl, needsCluster, request, startLoad } from './cluster.ts'
import { disagreements, tryEveryPair } from './matrix.ts'
import {
  adminService,
  chart,
  gatewayPods,
  readLive,
  renderRelease,
  service,
  valuesOf,
  verify
} from './release.ts'
import { deployWorkloads, prometheus, stranger, useNamespaces } from './workloads.ts'

// The tests are the chapters of one story, told in order on one cluster.
t.setTimeout(600_000)

t.test('a cluster that enforces NetworkPolicies', needsCluster(), async t => {
  t.setTimeout(600_000)
  await useNamespaces(t)
  const issuer = await deployWorkloads()
  const upgrade = (...options: string[]) =>
    helm('upgrade', '--install', 'gateway', chart, '-n', 'gateway', '--wait', ...options)

  await t.test('a release without values is ready, says what to do next and passes its test', async t => {
    const notes = await helm('install', 'plain', chart, '-n', 'plain', '--create-namespace', '--wait')
    t.match(notes, /NEXT: there is no route yet/)
    const { passed, text } = await helmTest('plain', 'plain')
    t.ok(passed, text)
    t.match(text, /passed: 1 of 1 doors are known to be closed/)
    await helm('uninstall', 'plain', '-n', 'plain', '--wait')
  })

  await t.test('before the policies everybody reaches everybody, as predicted', async t => {
    const options = [...valuesOf(), '--set', 'perimeter.enabled=false']
    await upgrade(...options)
    const cells = await tryEveryPair([
      await renderRelease(options),
      await readLive('namespaces,pods,services')
    ])
    t.strictSame(disagreements(cells), [])
    t.notOk(
      cells.some(({ seen }) => seen === 'dropped'),
      'and nothing is dropped'
    )
    t.comment(`${cells.length} connections`)
  })

  await t.test('with the policies, what is proven and predicted is what packets do', async t => {
    await upgrade(...valuesOf())
    const rendered = await renderRelease(valuesOf())
    const live = await readLive('namespaces,pods,services')
    const report = await verify(
      rendered,
      await readLive('namespaces,deployments,pods,services,networkpolicies')
    )
    t.equal(report.verdict, 'proven', JSON.stringify(report, null, 2))
    const cells = await tryEveryPair([rendered, live])
    t.strictSame(disagreements(cells), [])
    const dropped = cells.filter(({ seen }) => seen === 'dropped').length
    t.comment(`${cells.length} connections, ${dropped} of them dropped`)
    const seen = (from: string, to: string) => cells.find(cell => cell.from === from && cell.to === to)?.seen
    t.equal(
      seen('elsewhere/impostor', 'frontend/web:8080'),
      'dropped',
      'the gateway is known by its namespace, too'
    )
    t.equal(seen('frontend/neighbour', 'frontend/web:8080'), 'dropped', 'neighbours are no exception')
    t.equal(seen('frontend/web', 'backend/api:8080'), 'open', 'the declared edge is open')
    t.equal(seen('frontend/web', 'backend/api:9100'), 'dropped', 'on its port alone')
    if (hasOutside) t.equal(seen('outside', 'frontend/web:8080'), 'dropped', 'the outside has one way in')
  })

  await t.test('the gateway serves by the names of Services', async t => {
    const ask = (host: string, headers = {}) =>
      request(stranger, `http://${service}/orders/7`, { headers: { host, ...headers } })
    const open = await ask('www.example.com')
    t.equal(open.status, 200, JSON.stringify(open))
    t.match(JSON.parse(open.body!), { name: 'web', port: 8080, path: '/orders/7' })
    t.equal((await ask('api.example.com')).status, 401, 'no token, no answer')
    const authorized = await ask('api.example.com', { authorization: `Bearer ${await issuer.token()}` })
    t.equal(authorized.status, 200, JSON.stringify(authorized))
    const other = await issuer.token({ aud: 'other-api' })
    t.equal(
      (await ask('api.example.com', { authorization: `Bearer ${other}` })).status,
      401,
      'for somebody else'
    )
  })

  await t.test('only Prometheus reads the metrics', async t => {
    const url = `http://${adminService}:9090/metrics`
    t.equal((await request(prometheus, url)).status, 200)
    let counted = 0
    for (const { address } of await gatewayPods()) {
      const { body = '' } = await request(prometheus, `http://${address}:9090/metrics`)
      for (const [, count] of body.matchAll(/^sallyport_requests_total\{route="api".* (\d+)$/gm))
        counted += Number(count)
    }
    t.equal(counted, 3, 'the pods together have seen every call of the API')
    t.strictSame(await request(stranger, url), { error: 'dropped' })
  })

  await t.test(
    'who comes from outside gets in through the gateway',
    { skip: !hasOutside && 'skipped: no client outside' },
    async t => {
      const path = 'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}'
      const node = await kubectl(['get', 'nodes', '-o', path])
      const answer = await request('outside', `http://${node}:30080/`, {
        headers: { host: 'www.example.com' }
      })
      t.equal(answer.status, 200, JSON.stringify(answer))
    }
  )

  await t.test('helm test passes', async t => {
    const { passed, text } = await helmTest('gateway', 'gateway')
    t.ok(passed, text)
    t.match(text, /passed: 2 of 2 doors are known to be closed/)
  })

  const load = { host: service, path: '/', headers: { host: 'www.example.com' } }

  await t.test('a changed route needs no restart and costs no request, and the policies follow', async t => {
    const before = await gatewayPods()
    const running = await startLoad(stranger, load)
    await upgrade(...valuesOf('changed.yaml'))
    // The kubelet looks for a changed ConfigMap when it syncs a pod, once a minute. It syncs at once a pod that has changed itself.
    await kubectl([
      'annotate',
      'pod',
      '-n',
      'gateway',
      ...before.map(({ name }) => name),
      'sallyport.io/upgraded=now'
    ])
    for (const { address, name } of before) {
      const headers = { host: 'direct.example.com' }
      const answer = await request(stranger, `http://${address}:8080/`, {
        headers,
        until: 200,
        deadline: 120_000
      })
      t.equal(answer.status, 200, `${name}: ${JSON.stringify(answer)}`)
      t.match(answer.body, '"name":"api"')
    }
    const { sent, failed, failures } = await running.end()
    t.equal(failed, 0, `of ${sent}: ${JSON.stringify(failures)}`)
    t.comment(`${sent} requests`)
    t.strictSame(await gatewayPods(), before, 'the same pods, none of them started again')
    const rendered = await renderRelease(valuesOf('changed.yaml'))
    const cells = await tryEveryPair([rendered, await readLive('namespaces,pods,services')])
    t.strictSame(disagreements(cells), [])
    const gateway = `gateway/${before[0]!.name}`
    t.ok(
      cells.some(({ from, to, seen }) => from === gateway && to === 'backend/api:8080' && seen === 'open'),
      'the new way is open'
    )
  })

  await t.test('a rolling restart costs no request', async t => {
    const before = await gatewayPods()
    const running = await startLoad(stranger, load)
    await kubectl(['rollout', 'restart', '-n', 'gateway', 'deployment/gateway-sallyport'])
    await kubectl(['rollout', 'status', '-n', 'gateway', 'deployment/gateway-sallyport', '--timeout=120s'])
    const gone = before.map(({ name }) => `pod/${name}`)
    await kubectl(['wait', '-n', 'gateway', '--for=delete', ...gone, '--timeout=90s'])
    const { sent, failed, failures } = await running.end()
    t.equal(failed, 0, `of ${sent}: ${JSON.stringify(failures)}`)
    t.comment(`${sent} requests`)
  })

  await t.test('after the release nothing is closed any more, as predicted', async t => {
    await helm('uninstall', 'gateway', '-n', 'gateway', '--wait')
    const cells = await tryEveryPair([await readLive('namespaces,pods,services,networkpolicies')])
    t.strictSame(disagreements(cells), [])
    t.notOk(
      cells.some(({ seen }) => seen === 'dropped'),
      'and nothing is dropped'
    )
  })
})
