import { type ASTNode, EvaluationError } from '@marcbachmann/cel-js'
import { isNode } from './body-paths.ts'

interface Evaluator {
  run(node: ASTNode, context: unknown): unknown
}
interface Macro {
  evaluate(evaluator: Evaluator, macro: Macro, context: unknown): unknown
}

/**
 * Makes `has(a.b)` an error where `a` is a list, a text, a number or a bool, as CEL has it. cel-js 8.0.0 says false, and
 * `!has(request.body.amount) || …` would let pass whoever puts the object with the amount into a list: services that take a batch
 * read it there. A null has no fields for anybody.
 */
export function askObjectsOnly(node: unknown): void {
  if (Array.isArray(node)) {
    for (const part of node) askObjectsOnly(part)
    return
  }
  if (!isNode(node)) return
  if (node.op === 'call' && node.args[0] === 'has') guardHas(node)
  askObjectsOnly(node.args)
}

function guardHas(node: ASTNode & { op: 'call' }): void {
  const { macro } = (node as unknown as { meta: { macro: Macro } }).meta
  const names: string[] = []
  let root = (node.args[1][0] as ASTNode & { op: '.' }).args[0]
  for (; root.op === '.' || root.op === '.?'; root = root.args[0]) names.unshift(root.args[1])
  const { evaluate } = macro
  macro.evaluate = function hasOfObject(evaluator, self, context) {
    if (evaluate(evaluator, self, context) === true) return true
    // It has found all of these, or thrown: fields of an expression are not to be run, as it does not prepare them.
    const value = names.reduce(fieldOf, evaluator.run(root, context))
    if (value === undefined || (typeof value === 'object' && !Array.isArray(value))) return false
    throw new EvaluationError('has() of what is no object')
  }
}

function fieldOf(value: unknown, name: string): unknown {
  return value instanceof Map ? value.get(name) : (value as Record<string, unknown> | undefined)?.[name]
}
