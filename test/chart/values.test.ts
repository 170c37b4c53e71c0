import t from 'tap'
import { complaints } from './render.ts'
import { needs } from './tools.ts'

/** Values that the schema refuses, with Helm's lines to the letter. */
const refused: Record<string, { values: string; says: string[] }> = {
  'an unknown key': {
    values: 'replica: 3',
    says: ["- at '': additional properties 'replica' not allowed"]
  },
  'an unknown key further in': {
    values: 'perimeter: { gateway: { dns: { port: 53 } } }',
    says: ["- at '/perimeter/gateway/dns': additional properties 'port' not allowed"]
  },
  'a word that is none of the choices': {
    values: 'image: { pullPolicy: Sometimes }',
    says: ["- at '/image/pullPolicy': value must be one of 'Always', 'IfNotPresent', 'Never'"]
  },
  'an unknown key of the configuration': {
    values: 'config: { upstreams: { a: { url: "http://a.b.svc", retry: 3 } } }',
    says: ["- at '/config/upstreams/a': additional properties 'retry' not allowed"]
  },
  'a kubernetes block without its port': {
    values:
      'config: { upstreams: { a: { url: "http://a.b.svc", kubernetes: { namespace: b, podSelector: { app: a } } } } }',
    says: ["- at '/config/upstreams/a/kubernetes': missing property 'port'"]
  },
  'a kubernetes block that selects every pod': {
    values:
      'config: { upstreams: { a: { url: "http://a.b.svc", kubernetes: { namespace: b, podSelector: {}, port: 80 } } } }',
    says: ["- at '/config/upstreams/a/kubernetes/podSelector': minProperties: got 0, want 1"]
  },
  'a duration without a unit': {
    values: 'config: { limits: { drainDelay: 5 } }',
    says: ["- at '/config/limits/drainDelay': got number, want string"]
  },
  'an option that a built-in plugin does not have': {
    values: 'config: { plugins: [{ ip-filter: { alow: [] } }] }',
    says: ["- at '/config/plugins/0/ip-filter': additional properties 'alow' not allowed"]
  },
  'a built-in plugin without the options that it needs': {
    values: 'config: { plugins: [jwt] }',
    says: ["- at '/config/plugins/0': 'not' failed"]
  },
  'a peer without a namespace, which would be every namespace': {
    values: 'perimeter: { gateway: { from: [{ podLabels: { app: web } }] } }',
    says: [
      "- at '/perimeter/gateway/from/0': 'anyOf' failed",
      "- at '/perimeter/gateway/from/0': missing property 'cidr'",
      "- at '/perimeter/gateway/from/0': missing property 'namespace'"
    ]
  },
  'a peer that is pods and addresses at once': {
    values: 'perimeter: { metrics: { from: [{ namespace: a, cidr: 192.0.2.0/24 }] } }',
    says: ["- at '/perimeter/metrics/from/0/namespace': false schema"]
  },
  'exceptions from no block': {
    values: 'perimeter: { metrics: { from: [{ namespace: a, except: [192.0.2.0/24] }] } }',
    says: ["- at '/perimeter/metrics/from/0': properties 'cidr' required, if 'except' exists"]
  },
  'egress without a port, which would be every port': {
    values: 'perimeter: { gateway: { allow: [{ name: redis, namespace: data }] } }',
    says: ["- at '/perimeter/gateway/allow/0': missing property 'port'"]
  },
  'a namespace that is open to callers': {
    values: 'perimeter: { protect: { defaultDeny: [Egress] } }',
    says: [
      "- at '/perimeter/protect/defaultDeny': no items match contains schema",
      "- at '/perimeter/protect/defaultDeny/0': value must be 'Ingress'"
    ]
  },
  'a secret from two places': {
    values: 'secrets: { env: { A: { value: a, existingSecret: b } } }',
    says: ["- at '/secrets/env/A/existingSecret': false schema"]
  },
  'a plugin file that is no module': {
    values: 'plugins: { files: { "a.txt": "x" } }',
    says: ["- at '/plugins/files': additional properties 'a.txt' not allowed"]
  },
  'an upstream with a name that is no label': {
    values: 'config: { upstreams: { My_Orders: { url: "http://a.b.svc" } } }',
    says: ["- at '/config/upstreams': additional properties 'My_Orders' not allowed"]
  }
}

t.test('the schema refuses', needs('helm4', 'helm3'), async t => {
  for (const [what, { values, says }] of Object.entries(refused)) {
    const heads = (lines: string[]) => lines.filter(line => !line.endsWith(': validation failed'))
    t.strictSame(heads(await complaints(values)), says, what)
    t.strictSame(heads(await complaints(values, 'helm3')), says, `${what}, with Helm 3`)
  }
})

const upstream =
  'a: { url: "http://a.b.svc", kubernetes: { namespace: b, podSelector: { app: a }, port: 80 } }'

/** What no schema can say: rules over several keys. */
const contradictory: Record<string, { values: string; says: string }> = {
  'an admin listener that no probe can reach': {
    values: 'config: { listeners: { admin: { host: 127.0.0.1 } } }',
    says: 'config.listeners.admin.host is 127.0.0.1, where no probe can reach it: write 0.0.0.0 (the perimeter keeps strangers away from the port)'
  },
  'a public listener on loopback': {
    values: 'config: { listeners: { http: { host: localhost } } }',
    says: 'config.listeners.http.host is localhost, where the Service cannot reach it: write 0.0.0.0'
  },
  'a listener on any free port': {
    values: 'config: { listeners: { http: { port: 0 } } }',
    says: 'config.listeners.http.port is 0: write the port, so that the Service and the policies can name it'
  },
  'an upstream whose two namespaces differ': {
    values:
      'config: { upstreams: { a: { url: "http://a.shop.svc:80", kubernetes: { namespace: store, podSelector: { app: a }, port: 80 } } } }',
    says: 'config.upstreams.a goes to a Service in namespace shop, but its kubernetes.namespace is store: the policies would open the wrong pods; name one namespace'
  },
  'a namespace without anything to protect': {
    values: 'perimeter: { protect: { scope: upstreams, namespaces: { b: {} } } }',
    says: 'perimeter.protect.namespaces.b has no upstream, so that with scope: upstreams nothing is protected there: remove it, or write scope: namespace'
  },
  'two edges of one name': {
    values: `config: { upstreams: { ${upstream} } }\nperimeter: { protect: { namespaces: { b: { allow: [{ name: x, from: { namespace: c }, to: {}, port: 1 }, { name: x, from: { namespace: d }, to: {}, port: 1 }] } } } }`,
    says: 'perimeter.protect.namespaces.b.allow has two edges that are called x: give each a name of its own'
  },
  'an edge that opens nothing': {
    values: `config: { upstreams: { ${upstream} } }\nperimeter: { protect: { namespaces: { b: { allow: [{ name: x, from: {}, to: { namespace: c }, port: 1 }] } } } }`,
    says: 'perimeter.protect.namespaces.b.allow: edge x opens nothing, because neither end is closed: remove it, or close the namespace it comes from with defaultDeny: [Ingress, Egress]'
  },
  'metrics that nobody may read': {
    values: 'perimeter: { metrics: { from: [] } }\nmetrics: { podMonitor: { enabled: true } }',
    says: "metrics are to be scraped, but perimeter.metrics.from lets nobody in: name Prometheus' namespace there"
  },
  'a variable that nothing sets': {
    values: 'config: { redis: { url: { env: REDIS_URL } } }',
    says: 'config.redis.url names the environment variable REDIS_URL, which nothing sets: add secrets.env.REDIS_URL'
  },
  'a file that nothing mounts': {
    values: 'config: { identity: { sign: { key: { file: /etc/sallyport/identity/key.pem } } } }',
    says: 'config.identity.sign.key names the file /etc/sallyport/identity/key.pem, which nothing mounts: add an entry with path: /etc/sallyport/identity to secrets.files'
  },
  'a file of a further certificate that nothing mounts': {
    values:
      'config: { listeners: { https: { tls: { cert: { file: /tls/tls.crt }, key: { file: /tls/tls.key }, certificates: [{ cert: { file: /tls/b.crt }, key: { file: /b/tls.key } }] } } } }\nsecrets: { files: { tls: { path: /tls, existingSecret: tls } } }',
    says: 'config.listeners.https.tls.certificates[0].key names the file /b/tls.key, which nothing mounts: add an entry with path: /b to secrets.files'
  },
  'an autoscaler that has more to start with than it may have': {
    values: 'autoscaling: { enabled: true, minReplicas: 5, maxReplicas: 3 }',
    says: 'autoscaling.minReplicas is 5, more than maxReplicas, which is 3: raise maxReplicas'
  },
  'an autoscaler without a measure': {
    values: 'autoscaling: { enabled: true, targetCPUUtilizationPercentage: null }',
    says: 'autoscaling has nothing to go by: set autoscaling.targetCPUUtilizationPercentage'
  },
  'a grace period shorter than the drain': {
    values: 'terminationGracePeriodSeconds: 20',
    says: 'terminationGracePeriodSeconds is 20, but draining takes up to 32 (preStopSeconds + drainDelay + drainTimeout): raise it, or leave it out'
  },
  'a traffic policy without outside traffic': {
    values: 'service: { externalTrafficPolicy: Local }',
    says: 'service.externalTrafficPolicy needs service.type NodePort or LoadBalancer: remove it'
  },
  'an Ingress without a host': {
    values: 'ingress: { enabled: true }',
    says: 'ingress.enabled needs a host: add one to ingress.hosts'
  },
  'an HTTPRoute without a Gateway': {
    values: 'gatewayApi: { httpRoute: { enabled: true } }',
    says: 'gatewayApi.httpRoute.enabled needs a Gateway: add one to gatewayApi.httpRoute.parentRefs'
  },
  'a GRPCRoute without HTTP/2': {
    values: 'gatewayApi: { grpcRoute: { enabled: true, parentRefs: [{ name: a }] } }',
    says: 'gatewayApi.grpcRoute.enabled needs a listener for cleartext HTTP/2: add config.listeners.h2c'
  },
  'a ServiceMonitor without a Service': {
    values: 'adminService: { enabled: false }\nmetrics: { serviceMonitor: { enabled: true } }',
    says: 'metrics.serviceMonitor.enabled needs adminService.enabled: turn it on, or use metrics.podMonitor'
  },
  'two monitors of the same pods': {
    values: 'metrics: { serviceMonitor: { enabled: true }, podMonitor: { enabled: true } }',
    says: 'metrics.serviceMonitor and metrics.podMonitor would scrape every pod twice: enable one'
  }
}

t.test('the chart refuses, and says what to do', needs('helm4', 'helm3'), async t => {
  for (const [what, { values, says }] of Object.entries(contradictory)) {
    t.strictSame(await complaints(values), [says], what)
  }
  const everything = 'terminationGracePeriodSeconds: 20\ningress: { enabled: true }'
  t.equal((await complaints(everything)).length, 2, 'all of it at once')
  t.strictSame(await complaints(everything, 'helm3'), await complaints(everything), 'the same with Helm 3')
})

t.test('a custom plugin is for the gateway to judge', needs('helm4'), async t => {
  t.strictSame(await complaints('config: { plugins: [mine, { mine-too: { anything: [1] } }] }'), [])
})
