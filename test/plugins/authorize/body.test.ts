import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { viewOfBody } from '../../../plugins/authorize/body.ts'
import { evaluatorOf, problemWith } from '../../../plugins/authorize/expression.ts'
import { PolicyInput, RouteView } from '../../../plugins/authorize/input.ts'

function decide(expression: string, body: unknown): unknown {
  return evaluatorOf(expression, true)(inputOf(body))
}

function inputOf(body: unknown): PolicyInput {
  return new PolicyInput({} as never, {} as never, new RouteView('orders'), viewOfBody(body))
}

const order = {
  id: 'o-7',
  amount: 999.5,
  paid: false,
  note: null,
  items: [
    { sku: 'a', qty: 1 },
    { sku: 'b', qty: 2 }
  ],
  tags: ['new', 'gift'],
  address: { city: 'Wien', zip: '1010' }
}

t.test('an expression sees a body as CEL sees JSON', async t => {
  for (const expression of [
    'request.body.amount < 1000',
    'request.body.amount == 999.5',
    'request.body["amount"] > 999',
    'request.body.paid == false && request.body.note == null',
    'request.body.items.all(item, item.qty < 3)',
    'request.body.items.exists(item, item.sku == "b")',
    'request.body.items.filter(item, item.qty > 1).size() == 1',
    'request.body.items[1].sku == "b" && size(request.body.items) == 2',
    '"gift" in request.body.tags && !("old" in request.body.tags)',
    '"city" in request.body.address',
    'has(request.body.address.city) && !has(request.body.address.street)',
    'request.body.address.all(name, name.size() <= 4)',
    'request.body.address == request.body.address',
    'type(request.body.amount) == double && type(request.body) == map',
    'request.body.tags == ["new", "gift"]',
    'request.body.items.all(item, item.qty <= request.body.amount)'
  ]) {
    t.equal(problemWith(expression, true), null, expression)
    t.equal(decide(expression, order), true, expression)
  }
})

t.test('no name of a member is taken for something of the language below', async t => {
  for (const name of ['constructor', 'entries', 'size', 'get', 'toString', 'hasOwnProperty', '__proto__']) {
    t.equal(decide(`has(request.body.${name})`, {}), false, name)
    t.equal(decide(`request.body.${name} == 1`, JSON.parse(`{"${name}":1}`)), true, name)
    t.equal(decide('request.body.amount == 1', JSON.parse(`{"${name}":{},"amount":1}`)), true, name)
  }
})

t.test('what is missing or of another type is an error, and an error is no yes', async t => {
  for (const expression of [
    'request.body.missing == 1',
    'request.body.id < 1000',
    'request.body.items.amount == 1',
    'request.body.tags[2] == "x"',
    'request.body.all(name, request.method == name)'
  ])
    t.throws(() => decide(expression, order), expression)
  t.equal(decide('request.body.id == 1', order), false)
  t.equal(decide('!has(request.body)', undefined), true)
  t.throws(() => decide('request.body == null', undefined))
  t.equal(decide('request.body == null', null), true)
})

t.test('what is no object is not one without the field', async t => {
  const amount = '!has(request.body.amount) || request.body.amount < 1000'
  t.equal(problemWith(amount, true), null)
  for (const body of [[{ amount: 5000 }], [], '{"amount":5000}', 5000, true])
    t.throws(() => decide(amount, body), JSON.stringify(body))
  t.throws(() => decide('!has(request.body.pay.amount)', { pay: [{ amount: 5000 }] }), /no object/)
  t.throws(() => decide('request.body.all(one, !has(one.amount))', [[{ amount: 5000 }]]), /no object/)
  t.equal(decide('request.body.all(one, !has(one.amount) || one.amount < 9)', [{ amount: 1 }, {}]), true)
  t.equal(decide('type(request.body) == list ? true : has(request.body.amount)', [1]), true, 'not asked')
  t.equal(decide(amount, {}), true)
  t.equal(decide(amount, null), true, 'null has no fields for anybody')
  t.equal(decide(amount, { amount: 1000 }), false)
})

t.test('shapes that nobody has seen before leave nothing behind', async t => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const evaluate = evaluatorOf('request.body.amount == 1 || request.body.amount in [2]', true)
  const used = () => {
    collect()
    return process.memoryUsage().heapUsed
  }
  const ask = (number: number) => {
    let value: unknown = 1
    for (let bit = 0; bit < 24; bit++) value = (number >> bit) & 1 ? [value] : { a: value }
    try {
      evaluate(inputOf({ amount: value }))
    } catch {
      // Lists in lists have types that cannot be compared with a number.
    }
  }
  for (let number = 0; number < 1000; number++) ask(number * 7919)
  const before = used()
  for (let number = 0; number < 5000; number++) ask(number * 3571)
  const grown = (used() - before) / 5000
  t.ok(grown < 500, `${grown.toFixed(0)} bytes for each of them, where cel-js keeps 14,000 of a plain object`)
})
