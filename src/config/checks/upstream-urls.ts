import type { Path } from '../config-problem.ts'
import { nearest } from '../nearest.ts'
import type { UpstreamConfig } from '../schema.ts'
import type { Check } from './context.ts'
import { originFault } from './url.ts'

/** An upstream is one or more origins: the path is the route's business, and credentials are nobody's. */
export const checkUpstreamUrls: Check = ({ config, isSound, report }) => {
  for (const [name, upstream] of Object.entries(config.upstreams)) {
    const path: Path = ['upstreams', name]
    const { url, endpoints } = upstream
    const protocol = isSound([...path, 'protocol']) ? upstream.protocol : 'http1'
    if (url !== undefined) judge(url, [...path, 'url'], protocol)
    const check = upstream.healthCheck?.path
    if (check !== undefined && isSound([...path, 'healthCheck', 'path']) && !/^\/[!-~]*$/.test(check)) {
      report([...path, 'healthCheck', 'path'], 'is not a path', 'begin with /, as in /healthz')
    }
    for (const [index, endpoint] of endpoints.entries()) {
      judge(endpoint, [...path, 'endpoints', index], protocol)
    }

    if (!isSound([...path, 'url']) || !isSound([...path, 'endpoints'])) continue
    if (url !== undefined && endpoints.length > 0) {
      report([...path, 'endpoints'], 'stands beside url', 'keep either url or endpoints')
    }
    if (url === undefined && endpoints.length === 0) {
      report(path, 'has neither url nor endpoints', 'add url: http://host:port')
    }
  }

  function judge(text: string, path: Path, protocol: UpstreamConfig['protocol']): void {
    const fault = originFault(text)
    if (!fault) {
      judgeScheme(text, path, protocol)
      return
    }
    // The text itself may hold a password.
    const scheme = text.split('://')[0] ?? ''
    const meant =
      fault.startsWith('does not begin') && text.includes('://') && nearest(scheme, ['http', 'https'])
    const example = 'write only scheme, host and port: http://orders.shop.svc.cluster.local:80'
    report(path, fault, meant ? `did you mean ${meant}://?` : example)
  }

  /** h2 is agreed on by TLS, h2c is spoken without it (RFC 9113, 3). */
  function judgeScheme(text: string, path: Path, protocol: UpstreamConfig['protocol']): void {
    const isSecure = text.startsWith('https:')
    if (protocol === 'h2c' && isSecure) {
      report(path, 'is not http, which protocol: h2c needs', 'write http://, or protocol: h2')
    } else if (protocol === 'h2' && !isSecure) {
      report(path, 'is not https, which protocol: h2 needs', 'write https://, or protocol: h2c')
    }
  }
}
