import { METHODS } from 'node:http'
import type { Path } from '../config-problem.ts'
import { nearest } from '../nearest.ts'
import type { MatchConfig } from '../schema.ts'
import { show } from '../words.ts'
import type { Check, CheckContext } from './context.ts'
import { readMatchPath } from './match-path.ts'

/** CONNECT and TRACE are refused by every listener (RFC 9110, sections 9.3.6 and 9.3.8). */
const neverRouted = new Set(['CONNECT', 'TRACE'])

/** The parts of a match have the form that requests have, so that a route cannot be dead or ambiguous by its spelling. */
export const checkMatches: Check = ({ config, report }) => {
  for (const [name, { match, grpcWeb }] of Object.entries(config.routes)) {
    const path: Path = ['routes', name, 'match']
    if (match.path !== undefined) {
      const read = readMatchPath(match.path)
      if ('fault' in read) report([...path, 'path'], read.fault, read.remedy)
    }
    checkHosts(match, path, report)
    checkMethods(match, path, report)
    checkHeaders(match, path, report)
    if (match.protocol === 'grpc') {
      checkRpcs(match, path, report)
      continue
    }
    if (match.service !== undefined)
      report([...path, 'service'], 'is for gRPC only', 'add protocol: grpc, or use path')
    if (grpcWeb)
      report(['routes', name, 'grpcWeb'], 'is for gRPC only', 'add match.protocol: grpc, or remove it')
  }
}

/** A gRPC call is a POST to `/package.Service/Method`. */
function checkRpcs({ methods, path: called, service }: MatchConfig, path: Path, report: Report): void {
  if (methods.length > 0)
    report([...path, 'methods'], 'stands beside protocol: grpc', 'remove it: every call is a POST')
  if (service === undefined) return
  if (!/^[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*$/.test(service))
    report(
      [...path, 'service'],
      `${show(service)} is not a service`,
      'write its full name, e.g. shop.v1.Orders'
    )
  if (called !== undefined)
    report(
      [...path, 'path'],
      'stands beside service',
      'keep service, or write the path as /package.Service/Method'
    )
}

type Report = CheckContext['report']

function checkHosts(match: MatchConfig, path: Path, report: Report): void {
  for (const [index, host] of match.hosts.entries()) {
    const at = [...path, 'hosts', index]
    if (/^[^[]*:\d+$/.test(host))
      report(at, `${show(host)} has a port`, 'write the name alone: a route matches every port')
    else if (/[A-Z]/.test(host))
      report(at, `${show(host)} has upper-case letters`, `write ${host.toLowerCase()}`)
    else if (!isHostPattern(host)) {
      report(at, `${show(host)} is not a host name`, 'write a name such as api.example.com or *.example.com')
    }
  }
}

/** A DNS name in lower case (RFC 1123), the first label of which may be `*`. */
function isHostPattern(host: string): boolean {
  const labels = (host.startsWith('*.') ? host.slice(2) : host).split('.')
  return host.length <= 253 && labels.every(label => /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(label))
}

function checkMethods(match: MatchConfig, path: Path, report: CheckContext['report']): void {
  for (const [index, method] of match.methods.entries()) {
    const at = [...path, 'methods', index]
    if (neverRouted.has(method.toUpperCase())) report(at, `${method} is never routed`, 'remove it')
    else if (METHODS.includes(method)) continue
    else if (METHODS.includes(method.toUpperCase()))
      report(at, `${show(method)} is not in upper case`, `write ${method.toUpperCase()}`)
    else {
      const meant = nearest(method, METHODS)
      report(
        at,
        `${show(method)} is not a method`,
        meant ? `did you mean ${meant}?` : 'write GET, POST, PUT, PATCH, DELETE, …'
      )
    }
  }
}

function checkHeaders(match: MatchConfig, path: Path, report: CheckContext['report']): void {
  for (const [header, value] of Object.entries(match.headers)) {
    const at = [...path, 'headers', header]
    if (!/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(header))
      report(at, 'is not a header name', 'write letters, digits and hyphens')
    else if (/[A-Z]/.test(header)) report(at, 'has upper-case letters', `write ${header.toLowerCase()}`)
    else if (header === 'host') report(at, 'is not matched as a header', 'use match.hosts')
    else if (!/^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(value)) {
      report(at, 'has a value that no request can have', 'write visible ASCII without blanks around it')
    }
  }
}
