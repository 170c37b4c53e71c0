import type { ASTNode } from '@marcbachmann/cel-js'
import { findBody, isFieldOfBody, isFieldOfRequest, isNode, mayBeBody } from './body-paths.ts'
import { networkOf } from './networks.ts'

/** What is wrong with an expression, as cel-js says it, and what to do. */
export interface Flaw {
  summary?: string
  range?: { start: number }
  remedy?: string
}

/** Work that grows with what the request brings. One in another would grow with its square. */
const loops = new Set(['all', 'exists', 'exists_one', 'map', 'filter', 'split'])
const comparisons = new Set(['==', '!=', '<', '<=', '>', '>='])

/**
 * What type-checks and is refused all the same; null: nothing. `matches` of cel-js is `new RegExp(…).test(…)`, which backtracks:
 * one long header and a careless pattern would stop the process.
 */
export function flawOf(ast: ASTNode): Flaw | null {
  return flawIn(ast, 0)
}

/** @param depth how many loops are around the node */
function flawIn(node: unknown, depth: number): Flaw | null {
  if (Array.isArray(node)) return firstFlaw(node, depth)
  if (!isNode(node)) return null
  if (depth > 0 && mayBeBody(node)) {
    const remedy = 'compare its fields there, or loop over it'
    return { summary: 'request.body is searched inside a loop', range: node.range, remedy }
  }
  if (node.op === 'id' && node.args === 'request') {
    const remedy = 'write request and the field that is meant'
    return { summary: 'request stands here without a field', range: node.range, remedy }
  }
  if (isFieldOfRequest(node)) return flawIn((node.args as readonly unknown[])[1], depth)
  if (node.op === 'call') {
    const [name, args] = node.args
    return (name === 'inCidr' ? networkFlaw(args[1]) : null) ?? firstFlaw(args, depth)
  }
  if (node.op === 'rcall') return flawOfMethod(node, depth)
  if (comparisons.has(node.op)) {
    // Two texts of which one changes are compared in time that the sizes of both, taken together, bound.
    return firstFlaw(
      (node.args as readonly ASTNode[]).filter(side => !isFieldOfBody(side)),
      depth
    )
  }
  return flawIn(node.args, depth)
}

function flawOfMethod(node: ASTNode & { op: 'rcall' }, depth: number): Flaw | null {
  const [name, receiver, args] = node.args
  if (name === 'matches') {
    const remedy = 'use startsWith, endsWith, contains or =='
    return { summary: 'matches is not available: its patterns can take for ever', range: node.range, remedy }
  }
  if (name === 'bind' && findBody(args[1]) !== null) {
    const remedy = 'write request.body where it is used'
    return { summary: 'request.body gets another name', range: node.range, remedy }
  }
  const inside = loops.has(name) ? depth + 1 : depth
  if (inside > 1) {
    const remedy = 'use one loop, or in'
    return { summary: `${name} stands inside another loop`, range: node.range, remedy }
  }
  return flawIn(receiver, depth) ?? firstFlaw(args, inside)
}

function firstFlaw(nodes: readonly unknown[], depth: number): Flaw | null {
  for (const node of nodes) {
    const flaw = flawIn(node, depth)
    if (flaw !== null) return flaw
  }
  return null
}

function networkFlaw(node: ASTNode | undefined): Flaw | null {
  if (node?.op !== 'value' || typeof node.args !== 'string' || networkOf(node.args) !== null) return null
  const remedy = 'write an address and a prefix length, e.g. 10.0.0.0/8'
  return { summary: `${JSON.stringify(node.args)} is not a network`, range: node.range, remedy }
}
