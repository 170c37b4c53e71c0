/** What it costs to decide by a body, without a socket. `node bench/micro/authorize-body.ts` */
import { viewOfBody } from '../../plugins/authorize/body.ts'
import { evaluatorOf } from '../../plugins/authorize/expression.ts'
import { PolicyInput, RouteView } from '../../plugins/authorize/input.ts'
import { judgeJson } from '../../src/body/json-body.ts'
import { identity } from '../../test/fixtures/route.ts'
import { measure } from './hook.ts'

const expression = 'request.body.amount < 1000 && request.body.items.all(item, item.qty < 100)'
const evaluate = evaluatorOf(expression, true)
const ann = identity()
const route = new RouteView('orders')

for (const items of [1, 18, 300]) {
  const line = { sku: 'abc-100', qty: 2, price: 12.5, tags: ['new', 'gift'] }
  const text = JSON.stringify({ amount: 999, items: Array(items).fill(line) })
  const bytes = Buffer.from(text)
  const { value } = judgeJson(bytes)
  const times = Math.ceil(100_000 / items)
  await measure(`${bytes.length} bytes: JSON.parse alone`, () => JSON.parse(text), times)
  await measure(`${bytes.length} bytes: read strictly`, () => judgeJson(bytes), times)
  const decide = () => evaluate(new PolicyInput({} as never, ann, route, viewOfBody(value)))
  await measure(`${bytes.length} bytes: ${expression}`, decide, times)
}
