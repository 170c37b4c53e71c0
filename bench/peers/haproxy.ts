import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findProgram, versionOf } from './installed.ts'
import type { Chain, Peer, Setting } from './peer.ts'

const program = findProgram('haproxy')

export const haproxy: Peer = {
  name: 'haproxy',
  title: 'HAProxy',
  chains: ['plain', 'jwt', 'full'],
  setup:
    'one thread, `http-reuse always`; `jwt_verify` with RS256 and checks of `alg`, `iss`, `aud` and `exp` (it has no ' +
    'cache of tokens); a stick table by `sub` with `http_req_rate`; its own counters.',
  version: () => versionOf(program, ['-v'], /version (\S+)/),
  prepare(chain, setting) {
    const file = join(setting.folder, 'haproxy.cfg')
    writeFileSync(file, configuration(chain, setting))
    return { argv: [program as string, '-db', '-q', '-f', file] }
  }
}

function configuration(chain: Chain, setting: Setting): string {
  const rules = [
    ...(chain === 'plain' ? [] : tokenRules(setting)),
    ...(chain === 'full' ? limitRules(setting) : []),
    'http-request set-header X-Forwarded-Host %[req.hdr(host)]',
    'http-request set-header X-Forwarded-Proto http'
  ]
  return `global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 2s
  timeout http-request 10s
  timeout http-keep-alive 60s
  option forwardfor
  http-reuse always
frontend public
  bind 127.0.0.1:${setting.port} backlog 1024
${rules.map(rule => `  ${rule}\n`).join('')}  default_backend orders
backend orders
  server orders 127.0.0.1:${setting.upstreamPort}
backend limits
  stick-table type string len 64 size 100k expire 2m store http_req_rate(1m)
`
}

/** As HAProxy's documentation of `jwt_verify` has it, with the claims that the other peers check as well. */
function tokenRules({ credentials }: Setting): string[] {
  const { issuer, audience, publicPemFile } = credentials
  const deny = 'http-request deny deny_status 401'
  return [
    'http-request set-var(txn.bearer) http_auth_bearer',
    "http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('$.alg')",
    "http-request set-var(txn.exp) var(txn.bearer),jwt_payload_query('$.exp','int')",
    'http-request set-var(txn.now) date()',
    `${deny} unless { var(txn.alg) -m str RS256 }`,
    `${deny} unless { var(txn.bearer),jwt_payload_query('$.iss') -m str ${issuer} }`,
    `${deny} unless { var(txn.bearer),jwt_payload_query('$.aud') -m str ${audience} }`,
    `${deny} unless { var(txn.exp),sub(txn.now) -m int gt 0 }`,
    `${deny} unless { var(txn.bearer),jwt_verify(txn.alg,"${publicPemFile}") 1 }`
  ]
}

function limitRules({ limit }: Setting): string[] {
  return [
    "http-request set-var(txn.sub) var(txn.bearer),jwt_payload_query('$.sub')",
    'http-request track-sc0 var(txn.sub) table limits',
    `http-request deny deny_status 429 if { sc_http_req_rate(0) gt ${limit} }`
  ]
}
